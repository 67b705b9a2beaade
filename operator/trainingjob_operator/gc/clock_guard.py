"""Noticing that the wall clock was set: nothing is deleted by a clock that has just leapt.

Ages are read from the wall clock, because times in the cluster are. A clock that is set ten days
ahead makes everything ten days old. It is compared with the monotonic clock, which nobody sets.
"""

import logging
from typing import Final

from trainingjob_operator.clock import Clock

MOST_DRIFT_S: Final = 3600.0
_logger = logging.getLogger(__name__)


class ClockGuard:
    """Compares how far both clocks have gone since the last look."""

    def __init__(self, clock: Clock, *, hold_s: float) -> None:
        """Believe the clock as it is.

        Args:
            clock: both clocks.
            hold_s: for how many seconds nothing is deleted once a leap of more than an hour was
                seen: long enough that somebody can set the clock right again.
        """
        self._clock: Final = clock
        self.hold_s: Final = hold_s
        self._wall = clock.now()
        self._monotonic = clock.monotonic()
        self._held_until = float("-inf")
        self.leaps_total = 0

    def distrusts(self) -> bool:
        """Whether nothing may be deleted now."""
        wall, monotonic = self._clock.now(), self._clock.monotonic()
        leap = (wall - self._wall).total_seconds() - (monotonic - self._monotonic)
        self._wall, self._monotonic = wall, monotonic
        if abs(leap) > MOST_DRIFT_S:
            self.leaps_total += 1
            self._held_until = monotonic + self.hold_s
            _logger.warning(
                "Cleanup: the wall clock was set by %.0f s; nothing is removed for %g s",
                leap,
                self.hold_s,
            )
        return monotonic < self._held_until
