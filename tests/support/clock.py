"""A fake clock that only a test advances."""

from datetime import UTC, datetime, timedelta
from typing import Final

START: Final = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


class FakeClock:
    """Wall and monotonic clock (`trainingjob_operator.clock.Clock`), advanced together by the test."""

    def __init__(self, start: datetime = START) -> None:
        self._start: Final = start
        self._passed_s = 0.0

    def now(self) -> datetime:
        """The wall clock."""
        return self._start + timedelta(seconds=self._passed_s)

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._passed_s

    def tick(self, seconds: float = 1.0) -> None:
        """Advance the time."""
        self._passed_s += seconds
