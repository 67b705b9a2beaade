"""Fair, cooperative scheduler: runs CPU-bound work on the event loop in short slices, round-robin by user.

A list of 20,000 jobs takes a tenth of a second. Run in one piece it would block every socket and probe, and one
user who requests hundreds of lists would starve all others.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Generator
from time import perf_counter
from typing import Final, TypeVar

from trainingjob_console.concurrency import decrement
from trainingjob_console.errors import BusyError

SLICE_S: Final = 0.004
"""Seconds per slice; a slice ends with the step that reaches this."""

STEP: Final = 100
"""Jobs that a work item processes per step, which takes less than a millisecond."""

MAX_WORK_PER_USER: Final = 32
"""Work items per user, running or waiting. All tabs that a user may open can reconnect at once, each with a
list and its subscription."""

MAX_WORK: Final = 512
"""Work items of all users together."""

T = TypeVar("T")
Work = Generator[None, None, T]
"""A work item: a generator that yields after each step. Any other code may run before its next step."""


class FairScheduler:
    """Runs work items one slice at a time, round-robin by user; each user has one running item at a time.

    After each slice it sleeps for as long as the slice took: work items use at most half of the event loop's time.
    Bound: `MAX_WORK_PER_USER` work items per user and `MAX_WORK` in all; further ones are refused.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self.limit: Final = MAX_WORK
        self._clock: Final = clock
        self._slice_lock: Final = asyncio.Lock()
        self._user_locks: Final[dict[str, asyncio.Lock]] = {}
        self._work_count: Final[Counter[str]] = Counter()

    def __len__(self) -> int:
        return self._work_count.total()

    async def execute(self, user: str, work: Work[T]) -> T:
        """Run a work item to its end, and return its result.

        Args:
            user: the user: `Caller.user`.
            work: a generator that has not been started; it is closed if this is cancelled.

        Raises:
            BusyError: the user, or all users together, have too many work items.
        """
        if self._work_count[user] >= MAX_WORK_PER_USER or len(self) >= self.limit:
            raise BusyError("too many lists are being computed: try again", retry_after_s=1)
        self._work_count[user] += 1
        try:
            async with self._user_locks.setdefault(user, asyncio.Lock()):
                return await self._run_in_slices(work)
        finally:
            work.close()
            decrement(self._work_count, user)
            if user not in self._work_count:
                del self._user_locks[user]

    async def _run_in_slices(self, work: Work[T]) -> T:
        while True:
            async with self._slice_lock:
                begun = self._clock()
                end = self._slice(work, begun)
                await asyncio.sleep(self._clock() - begun)
            if end is not None:
                result: T = end.value
                return result

    def _slice(self, work: Work[T], begun: float) -> StopIteration | None:
        """Run one slice; return the StopIteration if the work item has ended."""
        try:
            while self._clock() - begun < SLICE_S:
                next(work)
        except StopIteration as end:
            return end
        return None
