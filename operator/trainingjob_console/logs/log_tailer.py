"""One log for one reader: read up to where it is followed, as fast as the reader takes it, and followed from there."""

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

_ROOM_S: Final = 0.05
_MAX_CATCH_UPS: Final = 3


class GapReader(Reader, Protocol):
    """A reader that may have to be told of a part that is not there to be sent."""

    def skip(self, start: int, end: int, /) -> None:
        """Say so."""
        ...


class RotatedError(Exception):
    """The place from which to read on is one of an older file than the node's.

    Attributes:
        file: the node's; empty: it is not known.
    """

    def __init__(self, file: str = "") -> None:
        super().__init__(file)
        self.file = file


class LogTailer:
    """Brings logs to readers, one at a time for each; all who follow one share a follower."""

    def __init__(self, kube: Kube, live: LiveReader, followers: FollowerPool) -> None:
        """Read nothing yet.

        Args:
            kube: the API server.
            live: reads a log up to where it is followed.
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
        turns: asyncio.Semaphore,
        *,
        file: str = "",
    ) -> str:
        """Follow a log from an offset on, and return why it ended.

        Args:
            caller: who reads.
            log: which.
            offset: of what the reader has not.
            reader: takes it.
            turns: of logs that are read up to where they are followed, those that may be at once.
            file: that the offset is of; empty: it is not known.

        Raises:
            RequestError: it cannot be followed.
            RotatedError: the offset is one of an older file.
        """
        while True:
            seat = self._enter(log, caller)
            try:
                async with turns:
                    again = await self._catch_up(seat, log, offset, reader, file)
                if again is None:
                    return await seat.end()
                offset = again
            finally:
                self._followers.leave(seat)

    async def follow_late(self, caller: Caller, log: PodLog, reader: Reader) -> str:
        """Follow a log from the first byte that is kept for late readers, and return why it ended.

        Args:
            caller: who reads.
            log: which.
            reader: takes it.

        Raises:
            RequestError: it cannot be followed.
        """
        seat = self._enter(log, caller)
        try:
            seat.follower.attach(seat, reader, seat.follower.window_start)
            return await seat.end()
        finally:
            self._followers.leave(seat)

    def _enter(self, log: PodLog, caller: Caller) -> ReaderHandle:
        return self._followers.enter(
            log, caller, lambda: BusyError("too many logs are followed: try again later")
        )

    async def _catch_up(
        self, seat: ReaderHandle, log: PodLog, offset: int, ring: GapReader, file: str
    ) -> int | None:
        """Bring a reader to where the follower is, as fast as it reads and no faster.

        None: it follows by now. Else the follower was replaced, as the node had begun a new file: the
        offset from which to go on with another.

        Raises:
            RotatedError: the reader has a place of an older file.
        """
        follower = seat.follower
        for _ in range(_MAX_CATCH_UPS):
            is_new = follower.position < offset or follower.position == 0
            if not is_new and _has_file(follower, file) and follower.attach(seat, ring, offset):
                return None
            if log.begun:
                was_at = follower.window_start
                try:
                    offset, length = await self._read_on(log, seat.caller, offset, ring, file)
                except RotatedError as error:
                    if not _has_file(follower, error.file):
                        self._followers.replace(follower)
                    raise
                is_other = length < was_at or not _has_file(follower, file)
                if is_other:
                    self._followers.replace(follower)
                if length < offset:
                    raise RotatedError
                if is_other:
                    return offset
            if follower.attach(seat, ring, offset):
                return None
        ring.skip(offset, follower.window_start)
        follower.attach(seat, ring, follower.window_start)
        return None

    async def _read_on(
        self, log: PodLog, caller: Caller, offset: int, ring: Reader, file: str
    ) -> tuple[int, int]:
        """Send what the node's file has from an offset on; returns up to where, and its length.

        Raises:
            RotatedError: it is another file than this.
        """

        async def sure(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            is_sure = not file
            async for part in parts:
                if not is_sure:
                    # Of an answer that has begun: it is of this file, or of one before it.
                    await self._check_file(log, caller, file)
                    is_sure = True
                yield part

        async with self._live.stream(log, caller) as parts:
            return await pass_on(sure(parts), offset, ring)

    async def _check_file(self, log: PodLog, caller: Caller, file: str) -> None:
        """Return if the node still has this file. Raises RotatedError."""
        now = await current_log_file(self._kube, caller.token, log)
        if now != file:
            raise RotatedError(now)


async def pass_on(
    parts: AsyncIterator[bytes], offset: int, reader: Reader, *, position: int = 0
) -> tuple[int, int]:
    """Send a reader what a log has from an offset on, as fast as it takes it.

    Args:
        parts: of the log.
        offset: of what the reader has not.
        reader: takes it.
        position: of the first part.

    Returns:
        The offset of what follows, but for the beginning of a character, and that of the end.
    """
    rest = b""
    async for part in parts:
        start, position = position, position + len(part)
        if position <= offset:
            continue
        data = rest + part[max(offset - start, 0) :]
        kept = incomplete_utf8(data)
        data, rest = data[: len(data) - kept], data[len(data) - kept :]
        for piece in split_chunks(offset, data):
            while not reader.has_room:  # noqa: ASYNC110 - the queue wakes its writer only
                await asyncio.sleep(_ROOM_S)
            reader.put(piece)
            offset = piece.following
    return offset, position


def _has_file(follower: Follower, file: str) -> bool:
    """Return False if the follower's places are known to be those of another file."""
    return not file or not follower.file or follower.file == file
