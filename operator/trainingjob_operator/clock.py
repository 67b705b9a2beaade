"""Clocks: the only module that reads the time; others receive a `Clock` or `now`."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

_OLDEST: Final = timedelta(days=366)
"""Ages above this are cut off: subtracting that of a date in year 1 would overflow `datetime`."""


class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """The wall clock, aware and in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back, from an arbitrary start."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """The wall clock, aware and in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()


class ClockSinceBoot(SystemClock):
    """The machine's clocks; the monotonic one includes the time during which the machine slept.

    A virtual machine whose host stopped all of its clocks cannot notice that.
    """

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SteadyTime:
    """A wall clock that never jumps: it starts at the wall time, and advances with the monotonic clock.

    Used for expiry after a number of seconds, also if the wall clock is set meanwhile.
    """

    def __init__(self, clock: Clock) -> None:
        """Start at the current wall time."""
        self._clock: Final = clock
        self._start: Final = clock.now()
        self._started_at: Final = clock.monotonic()

    def now(self) -> datetime:
        """The time, aware."""
        return self._start + timedelta(seconds=self._clock.monotonic() - self._started_at)

    def of(self, past: datetime) -> datetime:
        """Convert a wall time to this clock, by its current age.

        A time in the future counts as now: another machine's clock is ahead.
        """
        return self.now() - min(max(self._clock.now() - past, timedelta()), _OLDEST)
