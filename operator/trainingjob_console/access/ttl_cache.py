"""LRU caches with a TTL. The look-up cache also caches negative answers, and merges concurrent look-ups."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from time import perf_counter
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TtlCache(Generic[K, V]):
    """An LRU cache whose entries expire after a TTL.

    Bound: `limit` entries. The least recently used one is evicted first; expired ones count until then.
    """

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self.limit: Final = limit
        self._clock: Final = clock
        self._values: Final[OrderedDict[K, tuple[float, V]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: K) -> bool:
        """Return True if the key has an entry, expired or not."""
        return key in self._values

    def get(self, key: K) -> V | None:
        """Return the value; None: there is none, or it has expired."""
        known = self._values.get(key)
        if known is None or known[0] <= self._clock():
            return None
        self._values.move_to_end(key)
        return known[1]

    def put(self, key: K, value: V, ttl_s: float) -> None:
        """Store a value with a TTL in seconds."""
        self._values[key] = (self._clock() + ttl_s, value)
        self._values.move_to_end(key)
        while len(self._values) > self.limit:
            self._values.popitem(last=False)

    def forget(self, key: K) -> None:
        """Evict an entry."""
        self._values.pop(key, None)


class LookupCache(Generic[K, V]):
    """Caches answers and refusals (negative answers) of an asynchronous look-up, one at a time for each key.

    Refusals have a cache of their own. A client without rights can cause any number of refusals by
    guessing; they evict one another, and never an answer of a client with rights.

    Attributes:
        answers: the cached values.
        refusals: the keys whose look-up returned None.
    """

    def __init__(
        self,
        limit: int,
        refusals: int,
        *,
        fresh_s: float,
        refused_s: float,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """Create empty caches.

        Args:
            limit: the maximum number of answers.
            refusals: the maximum number of refusals.
            fresh_s: TTL of answers, in seconds.
            refused_s: TTL of refusals, in seconds.
            clock: returns monotonic seconds.
        """
        self.answers: Final[TtlCache[K, V]] = TtlCache(limit, clock)
        self.refusals: Final[TtlCache[K, bool]] = TtlCache(refusals, clock)
        self._fresh_s: Final = fresh_s
        self._refused_s: Final = refused_s
        self._asked: Final[dict[K, asyncio.Future[V | None]]] = {}

    async def get(
        self, key: K, ask: Callable[[], Awaitable[V | None]], *, refused_s: float | None = None
    ) -> V | None:
        """Return the cached answer, or look it up; None: a refusal.

        Args:
            key: the cache key.
            ask: looks it up. An exception is raised to all waiters, and is not cached.
            refused_s: TTL of a refusal, in seconds; None: the cache's own.
        """
        while True:
            if (known := self.answers.get(key)) is not None:
                return known
            if self.refusals.get(key):
                return None
            if (pending := self._asked.get(key)) is None:
                ttl_s = self._refused_s if refused_s is None else refused_s
                return await self._ask(key, ask, ttl_s)
            await asyncio.wait([pending])
            if not pending.cancelled():
                return pending.result()
            # The request that was looking it up was cancelled, e.g. because its tab was closed: retry.

    async def _ask(
        self, key: K, ask: Callable[[], Awaitable[V | None]], refused_s: float
    ) -> V | None:
        future: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._asked[key] = future
        try:
            value = await ask()
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(error)
                future.exception()  # marks it as retrieved: there may be no other waiter
            raise
        else:
            future.set_result(value)
            if value is None:
                self.answers.forget(key)
                self.refusals.put(key, True, refused_s)
            else:
                self.answers.put(key, value, self._fresh_s)
            return value
        finally:
            del self._asked[key]

    def forget(self, key: K) -> None:
        """Evict an answer."""
        self.answers.forget(key)
