"""A budget of memory for work whose size is a user's to choose; work that exceeds it waits."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final


class ByteBudget:
    """Hands out bytes in the order in which they are asked for.

    Bound: `limit` bytes in all; what is larger by itself waits until it has all of it. The
    tasks that wait are as many as workers and their requests.
    """

    def __init__(self, limit: int) -> None:
        self.limit: Final = limit
        self.used = 0
        self._waiting: Final[deque[tuple[asyncio.Future[None], int]]] = deque()

    @asynccontextmanager
    async def hold(self, weight: int) -> AsyncIterator[None]:
        """Hold so many bytes, as soon as they are there."""
        wanted = min(weight, self.limit)
        await self._take(wanted)
        try:
            yield
        finally:
            self._give_back(wanted)

    async def _take(self, wanted: int) -> None:
        if not self._waiting and self.used + wanted <= self.limit:
            self.used += wanted
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (turn, wanted)
        self._waiting.append(place)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._give_back(wanted)  # it was its turn already
            elif place in self._waiting:
                self._waiting.remove(place)
                self._let_in()
            raise

    def _give_back(self, wanted: int) -> None:
        self.used -= wanted
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting:
            turn, wanted = self._waiting[0]
            if not turn.done() and self.used + wanted > self.limit:
                return
            self._waiting.popleft()
            if not turn.done():  # else its task is being cancelled
                self.used += wanted
                turn.set_result(None)
