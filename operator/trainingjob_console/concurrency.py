"""Limits how many tasks run at once; further ones wait in a bounded queue, and each user has a share of both.

A request continues after its client has disconnected. Without the bound, a client that sends a request, disconnects and
repeats this would fill the queue without limit, and block all other users.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from trainingjob_console.errors import BusyError


def share_per_user(limit: int) -> int:
    """Return the share of a limit that one user may take: a quarter, and at least 2."""
    return max(2, -(-limit // 4))


def decrement(counter: Counter[str], name: str) -> None:
    """Decrement a count, and remove it at zero."""
    counter[name] -= 1
    if not counter[name]:
        del counter[name]


class ConcurrencyLimit:
    """A semaphore with a bounded queue. One user may take a quarter of the running and of all tasks.

    Bound: `at_once` running tasks and `waiting` queued ones; further ones are rejected.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self.limit: Final = at_once + waiting
        self._at_once: Final = at_once
        self._free: Final = asyncio.Semaphore(at_once)
        self._user_slots: Final[dict[str, asyncio.Semaphore]] = {}
        self._users: Final[Counter[str]] = Counter()

    def __len__(self) -> int:
        """Return the number of tasks that run or wait."""
        return self._users.total()

    @asynccontextmanager
    async def slot(self, user: str, message: str) -> AsyncIterator[None]:
        """Wait for a slot, and hold it while the context is open.

        Args:
            user: the user of the task: `Caller.user`.
            message: error message at the limit.

        Raises:
            BusyError: the queue, or the user's share of it, is full.
        """
        if len(self) >= self.limit or self._users[user] >= share_per_user(self.limit):
            raise BusyError(f"{message}: try again", retry_after_s=5)
        self._users[user] += 1
        user_slots = self._user_slots.setdefault(
            user, asyncio.Semaphore(share_per_user(self._at_once))
        )
        try:
            # The user's semaphore first: while it waits there, a task takes no slot from other users.
            async with user_slots, self._free:
                yield
        finally:
            decrement(self._users, user)
            if user not in self._users:
                del self._user_slots[user]
