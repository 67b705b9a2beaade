"""The event loop's time for long work: in short slices, one at a time, and from user to user.

A list of 20,000 jobs takes a tenth of a second. Done at once it would hold up every socket and probe, and
one user who asks for hundreds of them would have the process for itself.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Generator
from time import perf_counter
from typing import Final, TypeVar

from trainingjob_console.concurrency import decrement
from trainingjob_console.errors import BusyError

SLICE_S: Final = 0.004
"""Of a slice; it ends with the step that reaches this."""

STEP: Final = 100
"""Jobs that are looked at in one step of a work: less than a millisecond."""

MAX_WORKS: Final = 32
"""Of a user, with those that wait: as many tabs as a user may have come back at once, each with a list and
what follows it."""

MAX_ALL: Final = 512
"""Of all users."""

T = TypeVar("T")
Work = Generator[None, None, T]
"""Long work: it yields after each step, in a state in which anything may happen before the next."""


class FairScheduler:
    """Does works, one slice at a time: next is whose slice is longest ago, one work of each user.

    After a slice the loop has as much time for all else: long work takes half of it at most.
    Bound: `MAX_WORKS` of a user and `MAX_ALL` in all; further ones are refused.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self.limit: Final = MAX_ALL
        self._clock: Final = clock
        self._turn: Final = asyncio.Lock()
        self._users: Final[dict[str, asyncio.Lock]] = {}
        self._works: Final[Counter[str]] = Counter()

    def __len__(self) -> int:
        return self._works.total()

    async def execute(self, user: str, work: Work[T]) -> T:
        """Return what the work returns.

        Args:
            user: whose work it is: `Caller.user`.
            work: not begun; it is closed if this is cancelled.

        Raises:
            BusyError: there are too many already.
        """
        if self._works[user] >= MAX_WORKS or len(self) >= self.limit:
            raise BusyError(
                "more lists are asked for than can be made at once: try again", retry_after_s=1
            )
        self._works[user] += 1
        try:
            async with self._users.setdefault(user, asyncio.Lock()):
                return await self._go_through(work)
        finally:
            work.close()
            decrement(self._works, user)
            if user not in self._works:
                del self._users[user]

    async def _go_through(self, work: Work[T]) -> T:
        while True:
            async with self._turn:
                begun = self._clock()
                end = self._slice(work, begun)
                await asyncio.sleep(self._clock() - begun)
            if end is not None:
                result: T = end.value
                return result

    def _slice(self, work: Work[T], begun: float) -> StopIteration | None:
        """Return the end of the work, if it comes to it."""
        try:
            while self._clock() - begun < SLICE_S:
                next(work)
        except StopIteration as end:
            return end
        return None
