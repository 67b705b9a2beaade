"""The circuit breaker of the record endpoint: while the endpoint is down, it only gets probes.

Closed: all requests are sent. After some consecutive failures, or at once if the endpoint refuses our
token, it opens: one probe every `probe_every_s`. The first success closes it.
"""

from typing import Final

PROBE_EVERY_S: Final = 30.0
"""Seconds between two requests while the endpoint is down."""

_FAILURES_TO_OPEN: Final = 5


class CircuitBreaker:
    """Decides when a request may be sent. All times are monotonic seconds."""

    def __init__(self, *, probe_every_s: float = PROBE_EVERY_S) -> None:
        self._probe_every_s: Final = probe_every_s
        self._failures = 0
        self._next_probe_at: float | None = None

    @property
    def is_open(self) -> bool:
        """True if the endpoint counts as down."""
        return self._next_probe_at is not None

    def wait_s(self, *, now: float) -> float:
        """Return the seconds until the next request may be sent; 0: now."""
        return max(self._next_probe_at - now, 0.0) if self._next_probe_at is not None else 0.0

    def note_request(self, *, now: float) -> None:
        """Note a request; while the breaker is open, it delays the next one."""
        if self._next_probe_at is not None:
            self._next_probe_at = now + self._probe_every_s

    def note_not_sent(self, *, now: float) -> None:
        """Note that the announced request was not sent: another one may follow at once."""
        if self._next_probe_at is not None:
            self._next_probe_at = now

    def succeeded(self) -> bool:
        """Note a response, and close. True if the breaker was open until now."""
        was_open, self._next_probe_at, self._failures = self.is_open, None, 0
        return was_open

    def failed(self, *, now: float, at_once: bool = False) -> bool:
        """Note a failure. True if this opens the breaker.

        Args:
            now: monotonic time.
            at_once: open after this one failure.
        """
        self._failures += 1
        if self.is_open or not (at_once or self._failures >= _FAILURES_TO_OPEN):
            return False
        self._next_probe_at = now + self._probe_every_s
        return True
