"""Detects jumps of the wall clock and standstills of the process, and pauses deletions after them.

Ages are computed from the wall clock, as the times in the cluster are. If it is set ten days ahead,
everything looks ten days older. So it is compared with the monotonic clock, which cannot be set.

A process that was stopped for hours (SIGSTOP, a suspended machine, an overloaded node) continues
with stale data: all deletions of those hours are due at once, and changes of policies since then
are not known yet. A periodic heartbeat detects this: it comes late.
"""

import asyncio
import logging
from typing import Final

from trainingjob_operator.clock import Clock

MAX_DRIFT_S: Final = 3600.0
MAX_STANDSTILL_S: Final = 60.0
"""After shorter standstills the watches are still connected, and at most seconds behind."""

HEARTBEAT_S: Final = 10.0
_logger = logging.getLogger(__name__)


class ClockGuard:
    """Compares the progress of both clocks since the last check, and the age of the last heartbeat.

    Attributes:
        leaps_total: number of times that the wall clock was set by more than an hour.
        standstills_total: number of times that the process stood still for more than a minute.
    """

    def __init__(self, clock: Clock, *, hold_s: float) -> None:
        """Start with the current time as correct.

        Args:
            clock: both clocks.
            hold_s: seconds without deletions after a jump of more than an hour: long enough for
                somebody to correct the clock. After a standstill it is at least a minute, in
                which lists and watches catch up.
        """
        self._clock: Final = clock
        self.hold_s: Final = hold_s
        self._wall = clock.now()
        self._monotonic = clock.monotonic()
        self._heartbeat_at: float | None = None
        self._held_until = float("-inf")
        self.leaps_total = 0
        self.standstills_total = 0

    async def run(self) -> None:
        """Send heartbeats until cancelled. Before the first one no standstill is detected."""
        while True:
            self.deletions_are_paused()
            self._heartbeat_at = self._clock.monotonic()
            await asyncio.sleep(HEARTBEAT_S)

    def deletions_are_paused(self) -> bool:
        """True if nothing may be deleted now."""
        wall, monotonic = self._clock.now(), self._clock.monotonic()
        leap = (wall - self._wall).total_seconds() - (monotonic - self._monotonic)
        self._wall, self._monotonic = wall, monotonic
        if abs(leap) > MAX_DRIFT_S:
            self.leaps_total += 1
            self._hold(f"the wall clock was set by {leap:.0f} s", self.hold_s)
        # Check this here as well: after a standstill a due job may be handled before the heartbeat.
        if self._heartbeat_at is not None and monotonic - self._heartbeat_at > MAX_STANDSTILL_S:
            self.standstills_total += 1
            silence_s, self._heartbeat_at = monotonic - self._heartbeat_at, monotonic
            what = f"the process stood still for {silence_s:.0f} s"
            self._hold(what, max(self.hold_s, MAX_STANDSTILL_S))
        return monotonic < self._held_until

    def _hold(self, why: str, seconds: float) -> None:
        self._held_until = max(self._held_until, self._monotonic + seconds)
        _logger.warning("Cleanup: %s; nothing is removed for %g s", why, seconds)
