"""A weighted semaphore: limits the bytes of concurrent work, and queues what exceeds the limit."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final


class ByteSemaphore:
    """Grants bytes to tasks, first come, first served.

    Bound: `limit` bytes in all. A task that asks for more waits until it has the whole limit. At
    most as many tasks wait as there are workers and requests of theirs.
    """

    def __init__(self, limit: int) -> None:
        self.limit: Final = limit
        self.used = 0
        self._waiting: Final[deque[tuple[asyncio.Future[None], int]]] = deque()

    @asynccontextmanager
    async def acquire(self, weight: int) -> AsyncIterator[None]:
        """Wait until so many bytes are free, and hold them until the context ends."""
        wanted = min(weight, self.limit)
        await self._wait_for(wanted)
        try:
            yield
        finally:
            self._release(wanted)

    async def _wait_for(self, wanted: int) -> None:
        if not self._waiting and self.used + wanted <= self.limit:
            self.used += wanted
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (turn, wanted)
        self._waiting.append(waiter)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._release(wanted)  # the bytes were granted already
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
                self._grant()
            raise

    def _release(self, wanted: int) -> None:
        self.used -= wanted
        self._grant()

    def _grant(self) -> None:
        while self._waiting:
            turn, wanted = self._waiting[0]
            if not turn.done() and self.used + wanted > self.limit:
                return
            self._waiting.popleft()
            if not turn.done():  # a done future belongs to a task that is being cancelled
                self.used += wanted
                turn.set_result(None)
