"""Places for work that a few may do at once: the others wait in a line, which has an end, too.

A request goes on after its client has gone. So whoever asks, goes away and asks again would make a line
without an end as long, and keep everybody behind it out.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from trainingjob_console.errors import BusyError


def share_per_user(limit: int) -> int:
    """Return how much of a limit one user may take: a quarter, and 2 at least."""
    return max(2, -(-limit // 4))


def decrement(counter: Counter[str], name: str) -> None:
    """Count one less, and forget a name that has none left."""
    counter[name] -= 1
    if not counter[name]:
        del counter[name]


class ConcurrencyLimit:
    """So many at once, and so many that wait; of each user a quarter of both.

    Bound: `at_once` and `waiting`; further ones are refused.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self.limit: Final = at_once + waiting
        self._at_once: Final = at_once
        self._free: Final = asyncio.Semaphore(at_once)
        self._own: Final[dict[str, asyncio.Semaphore]] = {}
        self._users: Final[Counter[str]] = Counter()

    def __len__(self) -> int:
        """Return how many are in, or wait."""
        return self._users.total()

    @asynccontextmanager
    async def slot(self, user: str, full: str) -> AsyncIterator[None]:
        """Wait for a place, and keep it for as long as the context lasts.

        Args:
            user: whose place it is: `Caller.user`.
            full: says what there is too much of.

        Raises:
            BusyError: the line is full, or the user's share of it is.
        """
        if len(self) >= self.limit or self._users[user] >= share_per_user(self.limit):
            raise BusyError(f"{full}: try again", retry_after_s=5)
        self._users[user] += 1
        own = self._own.setdefault(user, asyncio.Semaphore(share_per_user(self._at_once)))
        try:
            # The user's own first: who waits there takes no place from others.
            async with own, self._free:
                yield
        finally:
            decrement(self._users, user)
            if user not in self._users:
                del self._own[user]
