"""The only reader of time; everything else is given `now`."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

_OLDEST: Final = timedelta(days=366)
"""What ended before that ended so long ago: else a time of the year 1 were before all times."""


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
    """The machine's clocks, of which the monotonic one goes on while the machine sleeps.

    A virtual machine whose host stops all of its clocks cannot be told from one that ran on.
    """

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SteadyTime:
    """A wall clock that nobody sets: it began with the true one, and goes on with the monotonic one.

    For what has to leave after so many seconds, whatever becomes of the wall clock meanwhile.
    """

    def __init__(self, clock: Clock) -> None:
        """Begin now."""
        self._clock: Final = clock
        self._start: Final = clock.now()
        self._started_at: Final = clock.monotonic()

    def now(self) -> datetime:
        """The time, aware."""
        return self._start + timedelta(seconds=self._clock.monotonic() - self._started_at)

    def of(self, past: datetime) -> datetime:
        """Return the monotonic moment of a time, by its age as the wall clock has it now.

        What is yet to come by the wall clock is now: somebody's clock was ahead.
        """
        return self.now() - min(max(self._clock.now() - past, timedelta()), _OLDEST)
