"""Noticing that the wall clock was set: nothing is deleted by a clock that has just leapt.

Ages are read from the wall clock, because times in the cluster are. A clock that is set ten days
ahead makes everything ten days old. It is compared with the monotonic clock, which nobody sets.
"""

from typing import Final

from trainingjob_operator.clock import Clock

MOST_DRIFT_S: Final = 3600.0


class ClockGuard:
    """Compares how far both clocks have gone since the last time they were believed."""

    def __init__(self, clock: Clock) -> None:
        self._clock: Final = clock
        self._wall = clock.now()
        self._monotonic = clock.monotonic()

    @property
    def leapt_s(self) -> float:
        """By how many seconds the wall clock was set; 0 unless that is more than an hour."""
        wall = (self._clock.now() - self._wall).total_seconds()
        drift = wall - (self._clock.monotonic() - self._monotonic)
        return drift if abs(drift) > MOST_DRIFT_S else 0.0

    def believe(self) -> None:
        """The wall clock is right as it is from now on."""
        self._wall, self._monotonic = self._clock.now(), self._clock.monotonic()
