"""Noticing that the wall clock was set, or that the process stood still: nothing is deleted for a while.

Ages are read from the wall clock, because times in the cluster are. A clock that is set ten days
ahead makes everything ten days old. It is compared with the monotonic clock, which cannot be set.

A process that was stopped for hours (SIGSTOP, a machine that slept, a node without a free cycle)
wakes with what it knew before: every appointment of those hours is due at once, and what a policy
has said since is yet to be heard. It beats, and a beat that is late tells.
"""

import asyncio
import logging
from typing import Final

from trainingjob_operator.clock import Clock

MOST_DRIFT_S: Final = 3600.0
MOST_SILENCE_S: Final = 60.0
"""The watches outlive less than that, and what they bring is seconds late at most."""

BEAT_S: Final = 10.0
_logger = logging.getLogger(__name__)


class ClockGuard:
    """Compares how far both clocks have gone since the last look, and how long ago the last beat is.

    Attributes:
        leaps_total: how often the wall clock was set by more than an hour.
        standstills_total: how often the process stood still for more than a minute.
    """

    def __init__(self, clock: Clock, *, hold_s: float) -> None:
        """Believe the clock as it is.

        Args:
            clock: both clocks.
            hold_s: for how many seconds nothing is deleted once a leap of more than an hour was
                seen: long enough for the clock to be set right again. After a standstill
                it is at least a minute, for lists and watches to say what has changed meanwhile.
        """
        self._clock: Final = clock
        self.hold_s: Final = hold_s
        self._wall = clock.now()
        self._monotonic = clock.monotonic()
        self._beat_at: float | None = None
        self._held_until = float("-inf")
        self.leaps_total = 0
        self.standstills_total = 0

    async def run(self) -> None:
        """Beat, until cancelled. Before the first beat no standstill is noticed."""
        while True:
            self.deletions_are_paused()
            self._beat_at = self._clock.monotonic()
            await asyncio.sleep(BEAT_S)

    def deletions_are_paused(self) -> bool:
        """True if nothing may be deleted now."""
        wall, monotonic = self._clock.now(), self._clock.monotonic()
        leap = (wall - self._wall).total_seconds() - (monotonic - self._monotonic)
        self._wall, self._monotonic = wall, monotonic
        if abs(leap) > MOST_DRIFT_S:
            self.leaps_total += 1
            self._hold(f"the wall clock was set by {leap:.0f} s", self.hold_s)
        # Asked here, too: a job that is due after a standstill may come before the beat.
        if self._beat_at is not None and monotonic - self._beat_at > MOST_SILENCE_S:
            self.standstills_total += 1
            silence_s, self._beat_at = monotonic - self._beat_at, monotonic
            what = f"the process stood still for {silence_s:.0f} s"
            self._hold(what, max(self.hold_s, MOST_SILENCE_S))
        return monotonic < self._held_until

    def _hold(self, why: str, seconds: float) -> None:
        self._held_until = max(self._held_until, self._monotonic + seconds)
        _logger.warning("Cleanup: %s; nothing is removed for %g s", why, seconds)
