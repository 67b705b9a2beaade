"""Timeouts that hardly advance while this process is stalled or suspended.

A process may be stalled for seconds: it has used up its CPU limit, its machine is suspended, or one step of the
event loop takes long. Meanwhile answers that have arrived are not read, and data is not sent. By the wall clock,
the deadlines of all clients and of all calls would then have passed, although each peer answered in time.
"""

import asyncio
from types import TracebackType
from typing import Final, Self

_MIN_CHECKS: Final = 10
"""Least number of checks before a deadline passes. Between two checks the event loop reads and sends pending data."""


class StallTolerantDeadline:
    """A deadline that its owner checks repeatedly; all times in seconds.

    Attributes:
        interval: longest time until the next check. No more than this is counted between two checks, however
            late the second one is.
    """

    def __init__(self, seconds: float, now: float) -> None:
        self.interval: Final = seconds / _MIN_CHECKS
        self._left = seconds
        self._checked_at = now

    def has_passed(self, now: float) -> bool:
        """Count the time since the last check, and return True if none is left."""
        self._left -= min(now - self._checked_at, self.interval)
        self._checked_at = now
        return self._left <= 0


class StallTolerantTimeout:
    """Replaces `asyncio.timeout`, with a `StallTolerantDeadline`; raises TimeoutError when it has passed."""

    def __init__(self, seconds: float) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._deadline: Final = StallTolerantDeadline(seconds, self._loop.time())
        self._timeout: Final = asyncio.timeout(None)
        self._next_check = self._loop.call_later(self._deadline.interval, self._check)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._next_check.cancel()
        await self._timeout.__aexit__(kind, error, traceback)

    def _check(self) -> None:
        now = self._loop.time()
        if self._deadline.has_passed(now):
            self._timeout.reschedule(now)
        else:
            self._next_check = self._loop.call_later(self._deadline.interval, self._check)
