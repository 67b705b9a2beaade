"""Follows one live log: reads it once from the kubelet, and fans it out to all of its readers."""

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
"""Bytes of a log that are kept for late readers."""

_RETRY_S: Final = (0.5, 15.0)
_PACE_LIMIT_S: Final = 0.25
_ROOM_POLL_S: Final = 0.005
_REFUSED: Final = (401, 403)
_FINISHED: Final = "finished"
ARCHIVED: Final = "archived"
"""End reason of a log whose pod was deleted."""

_logger = logging.getLogger(__name__)


class Reader(Protocol):
    """Receives the chunks of a log."""

    @property
    def has_room(self) -> bool:
        """True if a few more chunks would not drop any."""
        ...

    def put(self, chunk: LogChunk) -> None:
        """Add the next chunk."""
        ...


class ReaderHandle:
    """The handle of one reader at a follower.

    Attributes:
        caller: the user who reads. The follower may read the log with this user's token.
    """

    def __init__(self, follower: "Follower", caller: Caller) -> None:
        self.caller: Final = caller
        self.follower: Final = follower
        self._over: Final[asyncio.Future[str]] = asyncio.get_running_loop().create_future()

    async def end(self) -> str:
        """Wait for the end of the log, and return its reason.

        Raises:
            RequestError: the log cannot be followed, or no longer with this user's token.
        """
        return await asyncio.shield(self._over)

    def close(self, reason: str | RequestError) -> None:
        """Complete `end` with a reason or an error."""
        if self._over.done():
            return
        if isinstance(reason, str):
            self._over.set_result(reason)
        else:
            self._over.set_exception(reason)
            self._over.exception()  # marks it as retrieved: the reader may have left


class _NoReaderError(Exception):
    """No reader has the token with which the log is read: the last one has left."""


class Follower:
    """Reads one log from its beginning, so that offsets are known, and resumes when the stream breaks.

    It reads with the token of one of its readers. If the API server rejects that token, the log ends for all readers
    with it, and the follower continues with the token of the next reader. It also does so when that reader leaves.

    Bound: `WINDOW` bytes are kept; each reader has a queue of its own.

    Attributes:
        user: whose share of all followers it counts against: one of its readers', or the last reader's.
    """

    def __init__(self, kube: Kube, log: PodLog) -> None:
        self.log: Final = log
        self.user = ""
        self.position = 0
        self.readers: Final[dict[Reader, int]] = {}
        self.handles: Final[dict[ReaderHandle, Reader | None]] = {}
        self.is_over = False
        self._kube: Final = kube
        self._resume: Final = LineResume()
        self._window: Final = bytearray()
        self._slow: set[Reader] = set()  # not waited for
        self._incomplete = b""  # bytes of an incomplete character
        self._token: str | None = None  # with which it is read
        # Of the current read, which ends when its last reader leaves.
        self._read_timeout: asyncio.Timeout | None = None
        self._reader_entered: Final = asyncio.Event()

    def enter(self, caller: Caller) -> ReaderHandle:
        """Register a reader, and return its handle."""
        if not self.handles:
            self.user = caller.user
        handle = ReaderHandle(self, caller)
        self.handles[handle] = None
        self._reader_entered.set()
        return handle

    def attach(self, handle: ReaderHandle, reader: Reader, offset: int) -> bool:
        """Send a reader everything from an offset. False: the window begins after this offset."""
        start = self.position - len(self._window)
        if offset < start:
            return False
        if handle not in self.handles:
            return True  # its token was rejected: `end` raises that
        self.handles[handle] = reader
        self.readers[reader] = offset
        for chunk in split_chunks(offset, bytes(self._window[offset - start :])):
            reader.put(chunk)
            self.readers[reader] = chunk.next_offset
        return True

    def leave(self, handle: ReaderHandle) -> None:
        """Unregister a reader."""
        reader = self.handles.pop(handle, None)
        users = [each.caller.user for each in self.handles]
        if users and self.user not in users:
            self.user = users[0]
        if reader is not None:
            self.readers.pop(reader, None)
        timeout = self._read_timeout
        if timeout is not None and not timeout.expired() and not self._has_reader:
            timeout.reschedule(asyncio.get_running_loop().time())

    @property
    def file(self) -> str:
        """The log file that offsets count in; empty: unknown, or not known yet."""
        return self._resume.file

    @property
    def window_start(self) -> int:
        """The first offset in the window."""
        return self.position - len(self._window)

    async def run(self) -> None:
        """Follow until the log ends, and end all handles with the reason."""
        reason: str | RequestError = ApiServerError("the console failed to follow the log")
        try:
            reason = await self._follow()
            await self._append(self._resume.end(), last=True)
        except RequestError as error:
            reason = error
        except Exception:
            _logger.exception("a log cannot be followed")
        finally:
            self.is_over = True
            for handle in list(self.handles):
                handle.close(reason)

    async def _follow(self) -> str:
        pause = _RETRY_S[0]
        while True:
            before = self.position
            self._reader_entered.clear()
            handle = next(iter(self.handles), None)
            if handle is None:
                await self._reader_entered.wait()
                continue
            try:
                ended = await self._read_as(handle.caller)
            except _NoReaderError:
                continue
            except RequestError as error:
                ended = ""
                if error.status in _REFUSED:
                    self._refuse(handle.caller, error)
                    if self.handles:
                        continue
                    raise
            if ended:
                return ended
            if self.position > before:
                pause = _RETRY_S[0]
            await asyncio.sleep(pause)
            pause = min(2 * pause, _RETRY_S[1])

    async def _read_as(self, caller: Caller) -> str:
        """Read until the stream ends; return the end reason of the log; empty: the log has not ended.

        Raises:
            ApiServerError: it cannot be read with this user's token, or the stream broke.
            _NoReaderError: no reader with this token is left.
        """
        self._token = caller.token
        log = await self._while_wanted(refresh_log(self._kube, caller.token, self.log))
        if log is None:
            return ARCHIVED
        if not log.has_started:
            return ""
        self._resume.reopen()
        opened = open_log(self._kube, caller.token, log, follow=True, since=self._resume.since)
        async with AsyncExitStack() as stack:
            parts = await self._while_wanted(stack.enter_async_context(opened))
            while part := await self._while_wanted(anext(parts, b"")):
                await self._append(self._resume.feed(part))
        # If the container had terminated before the stream was opened, this was the whole log.
        return _FINISHED if log.has_ended else ""

    async def _while_wanted(self, asked: Awaitable[T]) -> T:
        """Await a call for as long as there is a reader with the token of the call.

        Only calls are cancelled here, never the processing of data already read, which would be lost.

        Raises:
            _NoReaderError: no such reader is left.
        """
        try:
            async with asyncio.timeout(None if self._has_reader else 0) as self._read_timeout:
                return await asked
        except TimeoutError as error:
            raise _NoReaderError from error
        finally:
            self._read_timeout = None

    @property
    def _has_reader(self) -> bool:
        return any(handle.caller.token == self._token for handle in self.handles)

    def _refuse(self, caller: Caller, error: RequestError) -> None:
        """End the handles of all readers with this token."""
        for handle in [each for each in self.handles if each.caller.token == caller.token]:
            self.leave(handle)
            handle.close(error)

    async def _append(self, new: bytes, *, last: bool = False) -> None:
        data = self._incomplete + new
        kept = 0 if last else incomplete_utf8(data)
        data, self._incomplete = data[: len(data) - kept], data[len(data) - kept :]
        start = self.position
        for chunk in split_chunks(start, data):
            part = data[chunk.offset - start : chunk.next_offset - start]
            self.position = chunk.next_offset
            self._window.extend(part)
            del self._window[: max(len(self._window) - WINDOW, 0)]
            for reader in list(self.readers):
                self._deliver(reader, chunk, part)
            await self._pace()

    def _deliver(self, reader: Reader, chunk: LogChunk, part: bytes) -> None:
        """Send a reader the part of a chunk that it does not have."""
        start = self.readers[reader]
        if start >= chunk.next_offset:
            return
        self.readers[reader] = chunk.next_offset
        if start <= chunk.offset:
            reader.put(chunk)
            return
        for rest in split_chunks(start, part[start - chunk.offset :]):
            reader.put(rest)

    async def _pace(self) -> None:
        """Wait for readers whose queues are full, as a burst exceeds a queue; not for slow readers."""
        self._slow &= self.readers.keys()
        self._slow -= {reader for reader in self._slow if reader.has_room}
        loop = asyncio.get_running_loop()
        until = loop.time() + _PACE_LIMIT_S
        while full := {r for r in self.readers if not r.has_room} - self._slow:
            if loop.time() > until:
                self._slow |= full
                return
            await asyncio.sleep(_ROOM_POLL_S)
