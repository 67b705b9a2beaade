"""A work queue of keys, in the manner of client-go's.

* A key that waits is not queued twice: ten events are one pass.
* A key is never worked on twice at once; what comes meanwhile is one more pass afterwards.
* A key that fails comes back after a wait that doubles; success forgets the failures.
* A key that is parked is not worked on before its time, whatever comes in: the answer to a
  permanent fault, about which a stream of events must not ask again and again.

Bound: one entry for each distinct key. Keys are dropped with their jobs (`drop`), and at `limit`
further ones are turned away, but for those that are followed anyway (the jobs in the index, which
have a bound of their own). One that is turned away comes again with the next resync. A key that is
followed no longer keeps its appointment, but only below the limit (`unfollow`).
"""

import asyncio
import contextvars
import random
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from trainingjob_operator.core.backoff import Backoff
from trainingjob_operator.core.bounded import Bound

LIMIT: Final = 20_000

K = TypeVar("K")


class WorkQueue(Generic[K]):
    """Keys to work on, each once at a time. To be used from one event loop."""

    def __init__(
        self,
        *,
        limit: int = LIMIT,
        follows: Callable[[K], bool] = lambda key: False,
        followed: int = 0,
        base_s: float = 0.1,
        cap_s: float = 60.0,
    ) -> None:
        """Make an empty queue.

        Args:
            limit: keys at most, beside those that are followed.
            follows: whether a key is one of a bounded number that must always find its place.
            followed: how many those are at most.
            base_s: seconds to wait after the first failure of a key.
            cap_s: the longest wait after a failure, in seconds, without the jitter.
        """
        self.limit: Final = limit
        self._follows: Final = follows
        self._followed: Final = followed
        self._backoff: Final = Backoff(base_s, cap_s)
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._queued: set[K] = set()
        self._running: set[K] = set()
        self._dirty: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._parked: set[K] = set()
        # One for all appointments, of which each finished job has one: the loop would copy the
        # context for each, and Python make a bound method.
        self._context: Final = contextvars.copy_context()
        self._on_due: Final = self._fire
        self.adds_total = 0
        self.refused_total = 0

    def __len__(self) -> int:
        """Keys that are waiting, in work, or due later."""
        return len(self._queued | self._running | self._timers.keys())

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit."""
        return (Bound("work_queue", len(self), self.limit + self._followed),)

    @property
    def depth(self) -> int:
        """Keys that are due now and not yet in work."""
        return len(self._queued)

    def add(self, key: K) -> None:
        """Work on this key as soon as possible."""
        self.adds_total += 1
        if key in self._parked:
            return  # its appointment stands
        if key in self._running:
            self._dirty.add(key)
        elif key not in self._queued and self._takes(key):
            self._queued.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: K, delay_s: float) -> None:
        """Work on this key in so many seconds; an earlier appointment stands, and a parked key waits."""
        if key in self._parked or not self._takes(key):
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + max(delay_s, 0.0)
        appointed = self._timers.get(key)
        if appointed is not None:
            if appointed.when() <= due:
                return
            appointed.cancel()
        self._timers[key] = loop.call_at(due, self._on_due, key, context=self._context)

    def retry(self, key: K, *, at_least_s: float = 0.0) -> float:
        """Work on a key that failed again, later with every failure in a row.

        Returns:
            The wait in seconds, with some jitter so that keys that failed together part.
        """
        wait = self._wait_after_failure(key, at_least_s)
        self.add_after(key, wait)
        return wait

    def park_with_backoff(self, key: K, *, at_least_s: float = 0.0) -> None:
        """As `retry`, but not before, whatever comes in; call it while working on the key."""
        self.park(key, self._wait_after_failure(key, at_least_s))

    def _wait_after_failure(self, key: K, at_least_s: float) -> float:
        count = self._failures[key] = self._failures.get(key, 0) + 1
        wait = self._backoff.wait_s(count)
        return max(at_least_s, wait) * random.uniform(1.0, 1.25)  # noqa: S311 - not a secret

    def park(self, key: K, delay_s: float) -> None:
        """Work on this key in so many seconds and not before; call it while working on it."""
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        self._parked.add(key)
        self._dirty.discard(key)
        loop = asyncio.get_running_loop()
        self._timers[key] = loop.call_later(delay_s, self._on_due, key, context=self._context)

    def forget_failures(self, key: K) -> None:
        """Note that the key was worked on with success: the next failure is a first one."""
        self._failures.pop(key, None)

    def drop(self, key: K) -> None:
        """Forget a key whose object is gone, but for a pass that waits already."""
        self._failures.pop(key, None)
        self._parked.discard(key)
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()

    def unfollow(self, key: K) -> None:
        """Keep of a key that is not followed any more its appointment alone, given room.

        An appointment is a quarter of what the index remembers of a finished job, and without it
        the job would not be deleted on time.
        """
        if key not in self._timers or self._used > self.limit:
            self.drop(key)

    async def get(self) -> K:
        """Return the next key; call `done` with it afterwards."""
        key = await self._ready.get()
        self._queued.discard(key)
        self._running.add(key)
        return key

    def done(self, key: K) -> None:
        """Note that the work on this key is over, with success or without."""
        self._running.discard(key)
        if key in self._dirty:
            self._dirty.discard(key)
            self.add(key)

    def close(self) -> None:
        """Cancel all appointments."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    @property
    def _used(self) -> int:
        """Keys; one that is in work and due again counts twice: the union would cost a pass."""
        return len(self._queued) + len(self._running) + len(self._timers)

    def _takes(self, key: K) -> bool:
        """True if there is a place for the key."""
        is_here = key in self._running or key in self._timers or key in self._queued
        if is_here or self._used < self.limit or self._follows(key):
            return True
        self.refused_total += 1
        return False

    def _fire(self, key: K) -> None:
        self._timers.pop(key, None)
        self._parked.discard(key)
        self.add(key)
