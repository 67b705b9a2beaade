"""Answers that are good for a time, and refusals apart from them: these push out no answer."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from time import perf_counter
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Values that are good for a time, by key.

    Bound: `limit` values, the one used longest ago goes first.
    """

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self.limit: Final = limit
        self._clock: Final = clock
        self._values: Final[OrderedDict[K, tuple[float, V]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: K) -> bool:
        """Return True if it has a value, good or not any more."""
        return key in self._values

    def get(self, key: K) -> V | None:
        """Return the value; None: there is none that is still good."""
        known = self._values.get(key)
        if known is None or known[0] <= self._clock():
            return None
        self._values.move_to_end(key)
        return known[1]

    def put(self, key: K, value: V, good_for_s: float) -> None:
        """Keep a value for so many seconds."""
        self._values[key] = (self._clock() + good_for_s, value)
        self._values.move_to_end(key)
        while len(self._values) > self.limit:
            self._values.popitem(last=False)

    def forget(self, key: K) -> None:
        """Forget a value."""
        self._values.pop(key, None)


class Remembered(Generic[K, V]):
    """Answers to questions, and apart from them refusals; one question at once for each key.

    Whoever has no right can ask for as many refusals as there are guesses: they push out one another,
    and no answer that somebody with a right was given.

    Attributes:
        answers: the values that were given.
        refusals: the keys to which there is none: the answer was None.
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
        """Remember nothing yet.

        Args:
            limit: answers at most.
            refusals: likewise.
            fresh_s: seconds for which an answer is good.
            refused_s: seconds for which a refusal is.
            clock: seconds since any moment.
        """
        self.answers: Final[Kept[K, V]] = Kept(limit, clock)
        self.refusals: Final[Kept[K, bool]] = Kept(refusals, clock)
        self._fresh_s: Final = fresh_s
        self._refused_s: Final = refused_s
        self._asked: Final[dict[K, asyncio.Future[V | None]]] = {}

    async def get(
        self, key: K, ask: Callable[[], Awaitable[V | None]], *, refused_s: float | None = None
    ) -> V | None:
        """Return the answer, which is asked for if it is not remembered; None: a refusal.

        Args:
            key: of the question.
            ask: asks it; what it raises reaches all who wait, and is not remembered.
            refused_s: seconds for which a refusal is good; None: as of all.
        """
        while True:
            if (known := self.answers.get(key)) is not None:
                return known
            if self.refusals.get(key):
                return None
            if (pending := self._asked.get(key)) is None:
                good_for_s = self._refused_s if refused_s is None else refused_s
                return await self._ask(key, ask, good_for_s)
            await asyncio.wait([pending])
            if not pending.cancelled():
                return pending.result()
            # The request that asked was given up, by a tab that was closed: another one asks.

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
                future.exception()  # it may be that nobody else waits
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
        """Forget an answer."""
        self.answers.forget(key)
