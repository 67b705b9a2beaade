"""One log that is being written: read once from its node, and passed on to all who follow it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from trainingjob_console.errors import ApiServerError, RequestError
from trainingjob_console.kube.client import Kube
from trainingjob_console.logs.pieces import incomplete, pieces_of
from trainingjob_console.logs.pods import PodLog, open_log, state_of
from trainingjob_console.logs.resume import LineResume
from trainingjob_console.sockets.log_ring import Piece

WINDOW: Final = 65_536
"""Bytes of a log that are kept for readers that come a moment later."""

_AGAIN_S: Final = (0.5, 15.0)
_PATIENCE_S: Final = 0.25
_LOOK_S: Final = 0.005
_REFUSED: Final = (401, 403)
_FINISHED: Final = "finished"
_ARCHIVED: Final = "archived"
_logger = logging.getLogger(__name__)


class Reader(Protocol):
    """One that is sent what is written."""

    @property
    def has_room(self) -> bool:
        """True if a few pieces more do no harm."""
        ...

    def put(self, piece: Piece) -> None:
        """Take what follows."""
        ...


class Follower:
    """Reads one log from its beginning, so that places in it are known, and goes on after a break.

    Bound: `WINDOW` bytes are kept; readers have rings of their own.
    """

    def __init__(self, kube: Kube, log: PodLog, token: str | None) -> None:
        self.log: Final = log
        self.token: Final = token
        self.position = 0
        self.readers: Final[dict[Reader, int]] = {}
        self.ended: Final = asyncio.Event()
        self.reason = _FINISHED
        self.error: RequestError | None = None
        self._kube: Final = kube
        self._resume: Final = LineResume()
        self._window: Final = bytearray()
        self._slow: set[Reader] = set()  # not waited for
        self._rest = b""  # the beginning of a character

    def attach(self, ring: Reader, offset: int) -> bool:
        """Send a ring all from an offset on. False: it is not kept any more."""
        start = self.position - len(self._window)
        if offset < start:
            return False
        self.readers[ring] = offset
        for piece in pieces_of(offset, bytes(self._window[offset - start :])):
            ring.put(piece)
            self.readers[ring] = piece.following
        return True

    @property
    def window_start(self) -> int:
        """The first offset that is kept."""
        return self.position - len(self._window)

    async def run(self) -> None:
        """Follow until the log ends. What went wrong is in `error`."""
        try:
            self.reason = await self._follow()
        except RequestError as error:
            self.error = error
        except Exception:
            _logger.exception("a log cannot be followed")
            self.error = ApiServerError("the console failed to follow the log")
        else:
            await self._take(self._resume.end(), last=True)
        finally:
            self.ended.set()

    async def _follow(self) -> str:
        pause = _AGAIN_S[0]
        while True:
            before = self.position
            try:
                log = await state_of(self._kube, self.token, self.log)
                if log is None:
                    return _ARCHIVED
                if log.begun:
                    self._resume.reopen()
                    async with open_log(
                        self._kube, self.token, log, follow=True, since=self._resume.since
                    ) as parts:
                        async for part in parts:
                            await self._take(self._resume.feed(part))
                    # The container had ended before, so this was all of it.
                    if log.ended:
                        return _FINISHED
            except ApiServerError as error:
                if error.status in _REFUSED:
                    raise
            if self.position > before:
                pause = _AGAIN_S[0]
            await asyncio.sleep(pause)
            pause = min(2 * pause, _AGAIN_S[1])

    async def _take(self, new: bytes, *, last: bool = False) -> None:
        data = self._rest + new
        kept = 0 if last else incomplete(data)
        data, self._rest = data[: len(data) - kept], data[len(data) - kept :]
        start = self.position
        for piece in pieces_of(start, data):
            part = data[piece.offset - start : piece.following - start]
            self.position = piece.following
            self._window.extend(part)
            del self._window[: max(len(self._window) - WINDOW, 0)]
            for reader in list(self.readers):
                self._pass_on(reader, piece, part)
            await self._pace()

    def _pass_on(self, reader: Reader, piece: Piece, part: bytes) -> None:
        """Give a reader what it has not."""
        wanted = self.readers[reader]
        if wanted >= piece.following:
            return
        self.readers[reader] = piece.following
        if wanted <= piece.offset:
            reader.put(piece)
            return
        for rest in pieces_of(wanted, part[wanted - piece.offset :]):
            reader.put(rest)

    async def _pace(self) -> None:
        """Wait for readers that follow: a burst is more than a ring holds. Not for slow ones."""
        self._slow &= self.readers.keys()
        self._slow -= {reader for reader in self._slow if reader.has_room}
        loop = asyncio.get_running_loop()
        until = loop.time() + _PATIENCE_S
        while full := {r for r in self.readers if not r.has_room} - self._slow:
            if loop.time() > until:
                self._slow |= full
                return
            await asyncio.sleep(_LOOK_S)


class Followers:
    """The logs that are followed, one upstream each; at most `limit`, then none more is begun.

    One goes `linger_s` after its last reader: a page that reloads finds it still there.
    """

    def __init__(self, kube: Kube, *, limit: int = 256, linger_s: float = 10.0) -> None:
        self.limit: Final = limit
        self._kube: Final = kube
        self._linger_s: Final = linger_s
        self._running: Final[dict[tuple[str, str], Follower]] = {}
        self._tasks: Final[dict[tuple[str, str], asyncio.Task[None]]] = {}
        self._idle: Final[dict[tuple[str, str], asyncio.TimerHandle]] = {}
        self._users: Final[dict[tuple[str, str], int]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def enter(self, log: PodLog, token: str | None, busy: Callable[[], RequestError]) -> Follower:
        """Return the follower of a log, which the caller leaves again.

        Raises:
            RequestError: what `busy` returns, at the limit.
        """
        key = (log.uid, log.container)
        found = self._running.get(key)
        if found is None or found.ended.is_set():
            self._end(key)
            if len(self._running) >= self.limit:
                raise busy()
            found = self._running[key] = Follower(self._kube, log, token)
            self._tasks[key] = asyncio.create_task(found.run(), name="log")
            self._users[key] = 0
        self._users[key] += 1
        if (timer := self._idle.pop(key, None)) is not None:
            timer.cancel()
        return found

    def leave(self, follower: Follower, ring: Reader) -> None:
        """Forget one reader."""
        follower.readers.pop(ring, None)
        key = (follower.log.uid, follower.log.container)
        if self._running.get(key) is not follower:
            return
        self._users[key] -= 1
        if not self._users[key]:
            wait = 0 if follower.ended.is_set() else self._linger_s
            loop = asyncio.get_running_loop()
            self._idle[key] = loop.call_later(wait, self._end, key)

    async def close(self) -> None:
        """End all."""
        tasks = list(self._tasks.values())
        for key in list(self._running):
            self._end(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, key: tuple[str, str]) -> None:
        self._running.pop(key, None)
        self._users.pop(key, None)
        if (timer := self._idle.pop(key, None)) is not None:
            timer.cancel()
        if (task := self._tasks.pop(key, None)) is not None:
            task.cancel()
