"""The circuit breaker of the record endpoint: when it is down, it is asked once in a while.

Closed: everything may try. After some failures in a row, or at once when the endpoint lets nobody
in, it opens: one probe every `probe_every_s`. The first success closes it.
"""

from typing import Final

_FAILURES_TO_OPEN: Final = 5


class CircuitBreaker:
    """Knows whether the endpoint is worth asking. All times are monotonic seconds."""

    def __init__(self, *, probe_every_s: float = 30.0) -> None:
        self._probe_every_s: Final = probe_every_s
        self._failures = 0
        self._next_probe_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the endpoint is taken to be down."""
        return self._next_probe_at is not None

    def wait_s(self, *, now: float) -> float:
        """For how many seconds nobody should ask; 0: ask."""
        return max(self._next_probe_at - now, 0.0) if self._next_probe_at is not None else 0.0

    def asking(self, *, now: float) -> None:
        """Somebody asks: while it is open, nobody else does for a while."""
        if self._next_probe_at is not None:
            self._next_probe_at = now + self._probe_every_s

    def not_asked(self, *, now: float) -> None:
        """Whoever was to ask had no reason to: somebody else may, at once."""
        if self._next_probe_at is not None:
            self._next_probe_at = now

    def succeeded(self) -> bool:
        """The endpoint has answered. True if it was taken to be down until now."""
        was_open, self._next_probe_at, self._failures = self.is_open, None, 0
        return was_open

    def failed(self, *, now: float, at_once: bool = False) -> bool:
        """The endpoint has not answered as it should. True if it is taken to be down from now on.

        Args:
            now: monotonic time.
            at_once: whether one failure is proof enough.
        """
        self._failures += 1
        if self.is_open or not (at_once or self._failures >= _FAILURES_TO_OPEN):
            return False
        self._next_probe_at = now + self._probe_every_s
        return True
