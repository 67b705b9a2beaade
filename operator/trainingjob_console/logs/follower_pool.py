"""Pools the followers of live logs: one shared follower for each log that has readers."""

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
    """The followers of live logs, with one upstream request each; at most `limit`.

    One user may start a quarter of them; another reader of a running follower costs nothing. A follower ends
    `linger_s` after its last reader has left, so that a page that reloads finds it again. A follower whose log was
    rotated is replaced for new readers, and ends when its last reader leaves.
    """

    def __init__(self, kube: Kube, *, limit: int = 256, linger_s: float = 10.0) -> None:
        self.limit: Final = limit
        self._kube: Final = kube
        self._linger_s: Final = linger_s
        self._followers: Final[dict[Key, Follower]] = {}
        self._tasks: Final[dict[Key, asyncio.Task[None]]] = {}
        self._idle: Final[dict[Key, asyncio.TimerHandle]] = {}
        self._replaced: Final[dict[Follower, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._followers) + len(self._replaced)

    def enter(self, log: PodLog, caller: Caller, busy: Callable[[], RequestError]) -> ReaderHandle:
        """Return a handle at the follower of a log, which the caller must release with `leave`.

        Raises:
            RequestError: the result of `busy`, at the limit.
            BusyError: the user has started a quarter of the limit.
        """
        key = (log.uid, log.container)
        found = self._followers.get(key)
        if found is None or found.is_over:
            self._end(key)
            self._ensure_capacity(caller.user, busy)
            found = self._followers[key] = Follower(self._kube, log)
            self._tasks[key] = asyncio.create_task(found.run(), name="log")
        if (timer := self._idle.pop(key, None)) is not None:
            timer.cancel()
        return found.enter(caller)

    def _ensure_capacity(self, user: str, busy: Callable[[], RequestError]) -> None:
        """Make room for one more follower; at a limit, end one that has no readers.

        Raises:
            BusyError: all followers of this user have readers.
            RequestError: the result of `busy`: all followers have readers.
        """
        own = sum(each.user == user for each in (*self._followers.values(), *self._replaced))
        if own >= share_per_user(self.limit):
            own_idle = [key for key in self._idle if self._followers[key].user == user]
            if not own_idle:
                raise BusyError("you follow too many logs: close some", retry_after_s=5)
            self._end(own_idle[0])
        if len(self) >= self.limit:
            if not self._idle:
                raise busy()
            self._end(next(iter(self._idle)))

    def leave(self, handle: ReaderHandle) -> None:
        """Release a handle."""
        follower = handle.follower
        follower.leave(handle)
        if follower in self._replaced:
            if not follower.handles:
                self._replaced.pop(follower).cancel()
            return
        key = (follower.log.uid, follower.log.container)
        if self._followers.get(key) is not follower or follower.handles or key in self._idle:
            return
        wait = 0 if follower.is_over else self._linger_s
        self._idle[key] = asyncio.get_running_loop().call_later(wait, self._end, key)

    def replace(self, follower: Follower) -> None:
        """Use a new follower for further readers: the offsets of this one are in an older file.

        Its present readers continue to be served by it.
        """
        key = (follower.log.uid, follower.log.container)
        if self._followers.get(key) is not follower:
            return
        if follower.handles:
            self._replaced[follower] = self._tasks.pop(key)
        self._end(key)

    async def close(self) -> None:
        """End all followers."""
        tasks = [*self._tasks.values(), *self._replaced.values()]
        for task in self._replaced.values():
            task.cancel()
        self._replaced.clear()
        for key in list(self._followers):
            self._end(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, key: Key) -> None:
        self._followers.pop(key, None)
        if (timer := self._idle.pop(key, None)) is not None:
            timer.cancel()
        if (task := self._tasks.pop(key, None)) is not None:
            task.cancel()
