"""Tails one log for one reader: catches up at the speed of the reader, then attaches it to the shared follower."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Protocol

from trainingjob_console.access.caller import Caller
from trainingjob_console.errors import BusyError
from trainingjob_console.kube.client import Kube
from trainingjob_console.logs.chunks import incomplete_utf8, split_chunks
from trainingjob_console.logs.follower import Follower, Reader, ReaderHandle
from trainingjob_console.logs.follower_pool import FollowerPool
from trainingjob_console.logs.log_reader import LiveReader
from trainingjob_console.logs.pods import PodLog, current_log_file

_ROOM_POLL_S: Final = 0.05
_MAX_CATCH_UPS: Final = 3


class GapReader(Reader, Protocol):
    """A reader that can be sent a gap, for a part that is not available."""

    def skip(self, start: int, end: int, /) -> None:
        """Report the gap between two offsets."""
        ...


class RotatedError(Exception):
    """The offset to resume at is in an older file than the node's current one: the log was rotated.

    Attributes:
        file: name of the node's current file; empty: unknown.
    """

    def __init__(self, file: str = "") -> None:
        super().__init__(file)
        self.file = file


class LogTailer:
    """Sends logs to readers, one log at a time for each reader. All readers of a log share one follower."""

    def __init__(self, kube: Kube, live: LiveReader, followers: FollowerPool) -> None:
        """Initialize without reading anything.

        Args:
            kube: client of the API server.
            live: reads a log up to the position of its follower.
            followers: of all logs.
        """
        self._kube: Final = kube
        self._live: Final = live
        self._followers: Final = followers

    async def follow(
        self,
        caller: Caller,
        log: PodLog,
        offset: int,
        reader: GapReader,
        catch_ups: asyncio.Semaphore,
        *,
        file: str = "",
    ) -> str:
        """Follow a log from an offset, and return the end reason.

        Args:
            caller: the user who reads.
            log: the log.
            offset: first byte that the reader does not have.
            reader: receives the chunks.
            catch_ups: limits concurrent catch-ups.
            file: name of the file that the offset counts in; empty: unknown.

        Raises:
            RequestError: it cannot be followed.
            RotatedError: the offset is in an older file.
        """
        while True:
            handle = self._open_handle(log, caller)
            try:
                async with catch_ups:
                    again = await self._catch_up(handle, log, offset, reader, file)
                if again is None:
                    return await handle.end()
                offset = again
            finally:
                self._followers.leave(handle)

    async def follow_from_window(self, caller: Caller, log: PodLog, reader: Reader) -> str:
        """Follow a log from the start of its follower's window, and return the end reason.

        Args:
            caller: the user who reads.
            log: the log.
            reader: receives the chunks.

        Raises:
            RequestError: it cannot be followed.
        """
        handle = self._open_handle(log, caller)
        try:
            handle.follower.attach(handle, reader, handle.follower.window_start)
            return await handle.end()
        finally:
            self._followers.leave(handle)

    def _open_handle(self, log: PodLog, caller: Caller) -> ReaderHandle:
        return self._followers.enter(
            log, caller, lambda: BusyError("too many logs are followed: try again later")
        )

    async def _catch_up(
        self, handle: ReaderHandle, log: PodLog, offset: int, reader: GapReader, file: str
    ) -> int | None:
        """Read the log up to the follower's position, at the speed of the reader, and attach the reader.

        Return None once it is attached. Else the follower was replaced, because the node had rotated the log:
        return the offset to continue from with another follower.

        Raises:
            RotatedError: the reader's offset is in an older file.
        """
        follower = handle.follower
        for _ in range(_MAX_CATCH_UPS):
            is_new = follower.position < offset or follower.position == 0
            if (
                not is_new
                and _has_file(follower, file)
                and follower.attach(handle, reader, offset)
            ):
                return None
            if log.has_started:
                window_start = follower.window_start
                try:
                    offset, length = await self._read_from(
                        log, handle.caller, offset, reader, file
                    )
                except RotatedError as error:
                    if not _has_file(follower, error.file):
                        self._followers.replace(follower)
                    raise
                was_rotated = length < window_start or not _has_file(follower, file)
                if was_rotated:
                    self._followers.replace(follower)
                if length < offset:
                    raise RotatedError
                if was_rotated:
                    return offset
            if follower.attach(handle, reader, offset):
                return None
        reader.skip(offset, follower.window_start)
        follower.attach(handle, reader, follower.window_start)
        return None

    async def _read_from(
        self, log: PodLog, caller: Caller, offset: int, reader: Reader, file: str
    ) -> tuple[int, int]:
        """Send the node's current file from an offset; return the end of what was sent, and the file's length.

        Raises:
            RotatedError: the current file is not this one.
        """

        async def checked(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            is_checked = not file
            async for part in parts:
                if not is_checked:
                    # Checked once the response has begun: it is of the current file, or of an earlier one.
                    await self._check_file(log, caller, file)
                    is_checked = True
                yield part

        async with self._live.stream(log, caller) as parts:
            return await send_chunks(checked(parts), offset, reader)

    async def _check_file(self, log: PodLog, caller: Caller, file: str) -> None:
        """Raise RotatedError unless the node's current file is this one."""
        now = await current_log_file(self._kube, caller.token, log)
        if now != file:
            raise RotatedError(now)


async def send_chunks(
    parts: AsyncIterator[bytes], offset: int, reader: Reader, *, position: int = 0
) -> tuple[int, int]:
    """Send a log to a reader from an offset, at the speed of the reader.

    Args:
        parts: of the log.
        offset: first byte that the reader does not have.
        reader: receives the chunks.
        position: offset of the first part.

    Returns:
        The offset up to which it was sent, without an incomplete character at the end; and the offset of the end.
    """
    rest = b""
    async for part in parts:
        start, position = position, position + len(part)
        if position <= offset:
            continue
        data = rest + part[max(offset - start, 0) :]
        kept = incomplete_utf8(data)
        data, rest = data[: len(data) - kept], data[len(data) - kept :]
        for chunk in split_chunks(offset, data):
            while not reader.has_room:  # noqa: ASYNC110 - the queue wakes its writer only
                await asyncio.sleep(_ROOM_POLL_S)
            reader.put(chunk)
            offset = chunk.next_offset
    return offset, position


def _has_file(follower: Follower, file: str) -> bool:
    """Return False if the follower is known to read another file."""
    return not file or not follower.file or follower.file == file
