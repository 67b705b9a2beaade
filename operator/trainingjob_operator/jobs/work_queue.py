"""A rate-limited, deduplicating work queue of keys, like client-go's workqueue.

* A waiting key is not queued twice: ten events are one pass.
* A key is never processed twice at once; events meanwhile cause one more pass afterwards.
* A key that fails is retried with exponential back-off; success resets it.
* A parked key is not processed before its time, whatever events arrive. Keys are parked after
  permanent errors, so that a stream of events does not repeat the failing request.

Bound: one entry for each distinct key. Keys are dropped with their jobs (`drop`). At `limit`
further keys are turned away, except followed ones (the jobs in the index, which has its own limit).
A key that was turned away comes again with the next resync. A key that is no longer followed keeps
its delayed pass, but only below the limit (`unfollow`).
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
    """Keys to process, each by one worker at a time. Used from one event loop."""

    def __init__(
        self,
        *,
        limit: int = LIMIT,
        follows: Callable[[K], bool] = lambda key: False,
        followed: int = 0,
        base_s: float = 0.1,
        cap_s: float = 60.0,
    ) -> None:
        """Create an empty queue.

        Args:
            limit: the most keys, not counting followed ones.
            follows: returns True for the keys, bounded in number, that are never turned away.
            followed: the most keys that are followed.
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
        # Shared by all timers, to save memory: each finished job has one, and the loop would copy
        # the context for each, and Python create a bound method.
        self._context: Final = contextvars.copy_context()
        self._on_due: Final = self._fire
        self.adds_total = 0
        self.refused_total = 0

    def __len__(self) -> int:
        """Keys that are waiting, being processed, or due later."""
        return len(self._queued | self._running | self._timers.keys())

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit."""
        return (Bound("work_queue", len(self), self.limit + self._followed),)

    @property
    def depth(self) -> int:
        """Keys that are due now and not yet being processed."""
        return len(self._queued)

    def add(self, key: K) -> None:
        """Queue this key for processing as soon as possible."""
        self.adds_total += 1
        if key in self._parked:
            return  # its timer decides
        if key in self._running:
            self._dirty.add(key)
        elif key not in self._queued and self._takes(key):
            self._queued.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: K, delay_s: float) -> None:
        """Queue this key after a delay; an earlier timer and a parked key remain unchanged."""
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
        """Retry a failed key with exponential back-off.

        Returns:
            The wait in seconds, with jitter so that keys that failed together are spread.
        """
        wait = self._wait_after_failure(key, at_least_s)
        self.add_after(key, wait)
        return wait

    def park_with_backoff(self, key: K, *, at_least_s: float = 0.0) -> None:
        """Retry as `retry` does, but park the key until then; call it while processing the key."""
        self.park(key, self._wait_after_failure(key, at_least_s))

    def _wait_after_failure(self, key: K, at_least_s: float) -> float:
        count = self._failures[key] = self._failures.get(key, 0) + 1
        wait = self._backoff.wait_s(count)
        return max(at_least_s, wait) * random.uniform(1.0, 1.25)  # noqa: S311 - not a secret

    def park(self, key: K, delay_s: float) -> None:
        """Queue this key after a delay, and not before; call it while processing the key."""
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        self._parked.add(key)
        self._dirty.discard(key)
        loop = asyncio.get_running_loop()
        self._timers[key] = loop.call_later(delay_s, self._on_due, key, context=self._context)

    def forget_failures(self, key: K) -> None:
        """Reset the key's back-off after a success."""
        self._failures.pop(key, None)

    def drop(self, key: K) -> None:
        """Forget a key whose object was deleted, except a pass that is already queued."""
        self._failures.pop(key, None)
        self._parked.discard(key)
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()

    def unfollow(self, key: K) -> None:
        """Keep only the timer of a key that is no longer followed, if the limit allows it.

        Without the timer the finished job would not be deleted on time. A timer takes a quarter of
        the memory of a finished job's index entry.
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
        """Mark a key as processed, with success or not."""
        self._running.discard(key)
        if key in self._dirty:
            self._dirty.discard(key)
            self.add(key)

    def close(self) -> None:
        """Cancel all timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    @property
    def _used(self) -> int:
        """The number of keys; one being processed and due again counts twice, which saves the union."""
        return len(self._queued) + len(self._running) + len(self._timers)

    def _takes(self, key: K) -> bool:
        """True if the key may be queued."""
        is_here = key in self._running or key in self._timers or key in self._queued
        if is_here or self._used < self.limit or self._follows(key):
            return True
        self.refused_total += 1
        return False

    def _fire(self, key: K) -> None:
        self._timers.pop(key, None)
        self._parked.discard(key)
        self.add(key)
