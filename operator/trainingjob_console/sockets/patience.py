"""Deadlines that hardly pass while this process stands still.

It may do so for some seconds: the limit of CPU is used up, the machine is paused, one step of the event loop takes
long. What came meanwhile lies unread, and what was to be sent did not go. By the clock alone the deadlines of
all clients would have passed, although each of them did what it should.
"""

import asyncio
from types import TracebackType
from typing import Final, Self

_LOOKS: Final = 10
"""The least number of looks at the clock in which a deadline passes. Between two of them the event loop reads
what has come, and sends what may go."""


class Patience:
    """A deadline that is looked at again and again; all times in seconds.

    Attributes:
        pause: until the next look, at most. Of the time between two looks no more than this counts, however
            late the second one is.
    """

    def __init__(self, seconds: float, now: float) -> None:
        self.pause: Final = seconds / _LOOKS
        self._left = seconds
        self._looked_at = now

    def is_over(self, now: float) -> bool:
        """Count the time since the last look, and return True if none is left."""
        self._left -= min(now - self._looked_at, self.pause)
        self._looked_at = now
        return self._left <= 0


class PatientTimeout:
    """As `asyncio.timeout`, with a deadline of `Patience`; at its end it raises TimeoutError."""

    def __init__(self, seconds: float) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._patience: Final = Patience(seconds, self._loop.time())
        self._timeout: Final = asyncio.timeout(None)
        self._next_look = self._loop.call_later(self._patience.pause, self._look)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._next_look.cancel()
        await self._timeout.__aexit__(kind, error, traceback)

    def _look(self) -> None:
        now = self._loop.time()
        if self._patience.is_over(now):
            self._timeout.reschedule(now)
        else:
            self._next_look = self._loop.call_later(self._patience.pause, self._look)
