"""All logs that are followed: one follower each, for as long as there are readers."""

import asyncio
from collections.abc import Callable
from typing import Final

from trainingjob_console.access.caller import Caller
from trainingjob_console.concurrency import share_per_user
from trainingjob_console.errors import BusyError, RequestError
from trainingjob_console.kube.client import Kube
from trainingjob_console.logs.follower import Follower, ReaderHandle
from trainingjob_console.logs.pods import PodLog

Key = tuple[str, str]


class FollowerPool:
    """The logs that are followed, one upstream each; at most `limit`, then none more is begun.

    One user may begin a quarter of them; a further reader of one that runs costs nothing. One goes
    `linger_s` after its last reader: a page that reloads finds it still there. One whose log the
    node has begun anew is replaced, and goes with its last reader.
    """

    def __init__(self, kube: Kube, *, limit: int = 256, linger_s: float = 10.0) -> None:
        self.limit: Final = limit
        self._kube: Final = kube
        self._linger_s: Final = linger_s
        self._running: Final[dict[Key, Follower]] = {}
        self._tasks: Final[dict[Key, asyncio.Task[None]]] = {}
        self._idle: Final[dict[Key, asyncio.TimerHandle]] = {}
        self._replaced: Final[dict[Follower, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._running) + len(self._replaced)

    def enter(self, log: PodLog, caller: Caller, busy: Callable[[], RequestError]) -> ReaderHandle:
        """Return a place at the follower of a log, which the caller gives back with `leave`.

        Raises:
            RequestError: what `busy` returns, at the limit.
            BusyError: the user has a quarter of the limit.
        """
        key = (log.uid, log.container)
        found = self._running.get(key)
        if found is None or found.is_over:
            self._end(key)
            self._make_room(caller.user, busy)
            found = self._running[key] = Follower(self._kube, log)
            self._tasks[key] = asyncio.create_task(found.run(), name="log")
        if (timer := self._idle.pop(key, None)) is not None:
            timer.cancel()
        return found.enter(caller)

    def _make_room(self, user: str, busy: Callable[[], RequestError]) -> None:
        """Return if there may be one more; at a limit, one without a reader ends for it."""
        own = sum(each.user == user for each in (*self._running.values(), *self._replaced))
        if own >= share_per_user(self.limit):
            unread = [key for key in self._idle if self._running[key].user == user]
            if not unread:
                raise BusyError("you follow too many logs: close some", retry_after_s=5)
            self._end(unread[0])
        if len(self) >= self.limit:
            if not self._idle:
                raise busy()
            self._end(next(iter(self._idle)))

    def leave(self, seat: ReaderHandle) -> None:
        """Give a place back."""
        follower = seat.follower
        follower.leave(seat)
        if follower in self._replaced:
            if not follower.seats:
                self._replaced.pop(follower).cancel()
            return
        key = (follower.log.uid, follower.log.container)
        if self._running.get(key) is not follower or follower.seats or key in self._idle:
            return
        wait = 0 if follower.is_over else self._linger_s
        self._idle[key] = asyncio.get_running_loop().call_later(wait, self._end, key)

    def replace(self, follower: Follower) -> None:
        """Give further readers a new follower: this one's places are those of an older file.

        Its own readers are sent what is written as before.
        """
        key = (follower.log.uid, follower.log.container)
        if self._running.get(key) is not follower:
            return
        if follower.seats:
            self._replaced[follower] = self._tasks.pop(key)
        self._end(key)

    async def close(self) -> None:
        """End all."""
        tasks = [*self._tasks.values(), *self._replaced.values()]
        for task in self._replaced.values():
            task.cancel()
        self._replaced.clear()
        for key in list(self._running):
            self._end(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, key: Key) -> None:
        self._running.pop(key, None)
        if (timer := self._idle.pop(key, None)) is not None:
            timer.cancel()
        if (task := self._tasks.pop(key, None)) is not None:
            task.cancel()
