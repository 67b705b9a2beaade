"""One log that is being written: read once from its node, and passed on to all who follow it."""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from typing import Final, Protocol, TypeVar

from trainingjob_console.access.caller import Caller
from trainingjob_console.errors import ApiServerError, RequestError
from trainingjob_console.kube.client import Kube
from trainingjob_console.logs.chunks import incomplete_utf8, split_chunks
from trainingjob_console.logs.pods import PodLog, open_log, refresh_log
from trainingjob_console.logs.resume import LineResume
from trainingjob_console.sockets.log_ring import LogChunk

T = TypeVar("T")

WINDOW: Final = 65_536
"""Bytes of a log that are kept for readers that come a moment later."""

_AGAIN_S: Final = (0.5, 15.0)
_PATIENCE_S: Final = 0.25
_LOOK_S: Final = 0.005
_REFUSED: Final = (401, 403)
_FINISHED: Final = "finished"
ARCHIVED: Final = "archived"
"""The end of a log whose pod has gone."""

_logger = logging.getLogger(__name__)


class Reader(Protocol):
    """One that is sent what is written."""

    @property
    def has_room(self) -> bool:
        """True if a few pieces more do no harm."""
        ...

    def put(self, piece: LogChunk) -> None:
        """Take what follows."""
        ...


class ReaderHandle:
    """The place of one reader at a follower.

    Attributes:
        caller: who reads. The API server may be asked in this user's name.
    """

    def __init__(self, follower: "Follower", caller: Caller) -> None:
        self.caller: Final = caller
        self.follower: Final = follower
        self._over: Final[asyncio.Future[str]] = asyncio.get_running_loop().create_future()

    async def end(self) -> str:
        """Wait for the end of the log, and return the reason.

        Raises:
            RequestError: the log cannot be followed, or not in this user's name any more.
        """
        return await asyncio.shield(self._over)

    def close(self, reason: str | RequestError) -> None:
        """Say that this is the end for the reader."""
        if self._over.done():
            return
        if isinstance(reason, str):
            self._over.set_result(reason)
        else:
            self._over.set_exception(reason)
            self._over.exception()  # it may be that the reader has gone


class _LeftError(Exception):
    """The reader in whose name the log is read has left."""


class Follower:
    """Reads one log from its beginning, so that places in it are known, and goes on after a break.

    It asks in the name of one of its readers. Where the API server refuses that one, it is the end
    for this user, and the next reader's name is taken; so it is where that reader leaves.

    Bound: `WINDOW` bytes are kept; readers have rings of their own.

    Attributes:
        user: whose share of all followers it counts for: one of its readers', or the last one's.
    """

    def __init__(self, kube: Kube, log: PodLog) -> None:
        self.log: Final = log
        self.user = ""
        self.position = 0
        self.readers: Final[dict[Reader, int]] = {}
        self.seats: Final[dict[ReaderHandle, Reader | None]] = {}
        self.is_over = False
        self._kube: Final = kube
        self._resume: Final = LineResume()
        self._window: Final = bytearray()
        self._slow: set[Reader] = set()  # not waited for
        self._rest = b""  # the beginning of a character
        self._token: str | None = None  # with which it is read
        self._waits: asyncio.Timeout | None = None  # for an answer to that
        self._entered: Final = asyncio.Event()

    def enter(self, caller: Caller) -> ReaderHandle:
        """Give a reader a place."""
        if not self.seats:
            self.user = caller.user
        seat = ReaderHandle(self, caller)
        self.seats[seat] = None
        self._entered.set()
        return seat

    def attach(self, seat: ReaderHandle, ring: Reader, offset: int) -> bool:
        """Send a ring all from an offset on. False: it is not kept any more."""
        start = self.position - len(self._window)
        if offset < start:
            return False
        if seat not in self.seats:
            return True  # it was refused, and waits for nothing but to hear of it
        self.seats[seat] = ring
        self.readers[ring] = offset
        for piece in split_chunks(offset, bytes(self._window[offset - start :])):
            ring.put(piece)
            self.readers[ring] = piece.following
        return True

    def leave(self, seat: ReaderHandle) -> None:
        """Send a reader nothing more."""
        ring = self.seats.pop(seat, None)
        users = [each.caller.user for each in self.seats]
        if users and self.user not in users:
            self.user = users[0]
        if ring is not None:
            self.readers.pop(ring, None)
        waits = self._waits
        if waits is not None and not waits.expired() and not self._may_read:
            waits.reschedule(asyncio.get_running_loop().time())

    @property
    def file(self) -> str:
        """The file from whose beginning places count; empty: it is not known (yet)."""
        return self._resume.file

    @property
    def window_start(self) -> int:
        """The first offset that is kept."""
        return self.position - len(self._window)

    async def run(self) -> None:
        """Follow until the log ends, and tell all readers why."""
        reason: str | RequestError = ApiServerError("the console failed to follow the log")
        try:
            reason = await self._follow()
            await self._take(self._resume.end(), last=True)
        except RequestError as error:
            reason = error
        except Exception:
            _logger.exception("a log cannot be followed")
        finally:
            self.is_over = True
            for seat in list(self.seats):
                seat.close(reason)

    async def _follow(self) -> str:
        pause = _AGAIN_S[0]
        while True:
            before = self.position
            self._entered.clear()
            seat = next(iter(self.seats), None)
            if seat is None:
                await self._entered.wait()
                continue
            try:
                ended = await self._read_as(seat.caller)
            except _LeftError:
                continue
            except RequestError as error:
                ended = ""
                if error.status in _REFUSED:
                    self._refuse(seat.caller, error)
                    if self.seats:
                        continue
                    raise
            if ended:
                return ended
            if self.position > before:
                pause = _AGAIN_S[0]
            await asyncio.sleep(pause)
            pause = min(2 * pause, _AGAIN_S[1])

    async def _read_as(self, caller: Caller) -> str:
        """Read on until the stream ends; returns why the log has ended; empty: it has not.

        Raises:
            ApiServerError: it cannot be read in this user's name, or the stream broke.
            _LeftError: the user reads here no more.
        """
        self._token = caller.token
        log = await self._while_read(refresh_log(self._kube, caller.token, self.log))
        if log is None:
            return ARCHIVED
        if not log.begun:
            return ""
        self._resume.reopen()
        opened = open_log(self._kube, caller.token, log, follow=True, since=self._resume.since)
        async with AsyncExitStack() as stack:
            parts = await self._while_read(stack.enter_async_context(opened))
            while part := await self._while_read(anext(parts, b"")):
                await self._take(self._resume.feed(part))
        # If the container had ended before, this was all of it.
        return _FINISHED if log.ended else ""

    async def _while_read(self, asked: Awaitable[T]) -> T:
        """Wait for an answer, for as long as there is a reader with the token that it was asked with.

        Nothing that was taken of the log is given up here: it would be lost.

        Raises:
            _LeftError: there is none any more.
        """
        try:
            async with asyncio.timeout(None if self._may_read else 0) as self._waits:
                return await asked
        except TimeoutError as error:
            raise _LeftError from error
        finally:
            self._waits = None

    @property
    def _may_read(self) -> bool:
        return any(seat.caller.token == self._token for seat in self.seats)

    def _refuse(self, caller: Caller, error: RequestError) -> None:
        """It is the end for every reader with this token."""
        for seat in [each for each in self.seats if each.caller.token == caller.token]:
            self.leave(seat)
            seat.close(error)

    async def _take(self, new: bytes, *, last: bool = False) -> None:
        data = self._rest + new
        kept = 0 if last else incomplete_utf8(data)
        data, self._rest = data[: len(data) - kept], data[len(data) - kept :]
        start = self.position
        for piece in split_chunks(start, data):
            part = data[piece.offset - start : piece.following - start]
            self.position = piece.following
            self._window.extend(part)
            del self._window[: max(len(self._window) - WINDOW, 0)]
            for reader in list(self.readers):
                self._pass_on(reader, piece, part)
            await self._pace()

    def _pass_on(self, reader: Reader, piece: LogChunk, part: bytes) -> None:
        """Give a reader what it has not."""
        wanted = self.readers[reader]
        if wanted >= piece.following:
            return
        self.readers[reader] = piece.following
        if wanted <= piece.offset:
            reader.put(piece)
            return
        for rest in split_chunks(wanted, part[wanted - piece.offset :]):
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
