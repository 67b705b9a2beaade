"""Windows, searches and downloads of one log, live or archived, each within a deadline and in little memory."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any, Final

from trainingjob_console.access.caller import Caller
from trainingjob_console.concurrency import ConcurrencyLimit
from trainingjob_console.deadlines import StallTolerantTimeout
from trainingjob_console.errors import BusyError, NotFoundError
from trainingjob_console.kube.client import Kube
from trainingjob_console.logs.archive import Archive, Body, PlainLines
from trainingjob_console.logs.archive_reader import ArchiveReader
from trainingjob_console.logs.pods import PodLog, current_log_file, open_log
from trainingjob_console.logs.search import Search
from trainingjob_console.logs.window import Window, WindowReader

SEARCH_S: Final = 5.0
_CALL_S: Final = 20.0
PART: Final = 2**20
"""Bytes of an archived log that are read at once when the whole of it is wanted."""

_PASSING_WAITING: Final = 464
_TOO_MANY: Final = "too many logs are being read"
_BACK: Final = 2**20
"""Bytes before a window of a whole archive in which its first line's beginning is looked for."""


def parts_of(archive: Archive, body: Body | None, start: int = 0) -> Iterator[bytes]:
    """Yield the log of a section, or the whole file from a place on."""
    return archive.blocks(start, archive.size) if body is None else archive.lines(body)


def window_of(archive: Archive, body: Body | None, offset: int, limit: int) -> tuple[Window, int]:
    """Return a window of an archived log, and the log's size."""
    if body is None:
        size = archive.size
        offset = max(size + offset, 0) if offset < 0 else offset
        start = max(offset - _BACK, 0)
        reader = WindowReader(offset, limit, start=start)
        for part in archive.blocks(start, size):
            reader.feed(part)
            if reader.is_full:
                break
        return reader.end(), size
    size = sum(len(part) for part in archive.lines(body))
    offset = max(size + offset, 0) if offset < 0 else offset
    reader = WindowReader(offset, limit)
    for part in archive.lines(body):
        reader.feed(part)
        if reader.is_full:
            break
    return reader.end(), size


async def archived_parts(
    archives: ArchiveReader, uid: str, user: str, size: int, body: Body | None, *, part: int = PART
) -> AsyncGenerator[bytes]:
    """Yield an archived log in parts, each read in a thread; the file is opened for each anew.

    Args:
        archives: the log volume.
        uid: of the job.
        user: who reads.
        size: of the archive.
        body: the log's section; None: the whole archive.
        part: bytes that are read at once.

    Raises:
        BusyError: the volume does not answer, or the archive has gone: the transfer breaks off, so
            that nobody takes what came for the whole.
    """
    plain = None if body is None else PlainLines(body.section.rank)
    first, end = (0, size) if body is None else (body.start, body.end)
    for start in range(first, end, part):
        stop = min(start + part, end)
        read = partial(_read_part, start=start, end=stop)
        data = await archives.with_archive(uid, read, user=user)
        if data is None or len(data) < stop - start:
            raise BusyError("the archive has gone, or a part of it, while it was read")
        yield data if plain is None else plain.feed(data)
    if plain is not None:
        yield plain.end()


def _read_part(archive: Archive, *, start: int, end: int) -> bytes:
    return b"".join(archive.blocks(start, end))


def search_of(
    archive: Archive, body: Body | None, pattern: "re.Pattern[bytes]", start: int, limit: int
) -> dict[str, Any]:
    """Search an archived log from a line's beginning on, until the deadline."""
    scan = _Scan(Search(pattern, limit=limit, start=start), start if body is not None else 0)
    for block in parts_of(archive, body, start):
        if not scan.goes_on_after(block):
            return scan.result(complete=False)
    return scan.result(complete=True)


class _Scan:
    """A search of blocks that come from before its start, within its deadline."""

    def __init__(self, search: Search, skip: int) -> None:
        self._search: Final = search
        self._skip = skip
        self._until: Final = perf_counter() + SEARCH_S

    def goes_on_after(self, block: bytes) -> bool:
        """Look through what follows, and return False if that was enough."""
        part, self._skip = block[self._skip :], max(self._skip - len(block), 0)
        self._search.feed(part)
        return not self._search.is_full and perf_counter() <= self._until

    def result(self, *, complete: bool) -> dict[str, Any]:
        """Return what was found; complete: to the end of the log."""
        if complete:
            self._search.end()
        found = self._search
        return {"hits": found.hits, "scanned": found.scanned, "complete": complete}


class LiveReader:
    """Reads logs of pods: each answer streams the log once or twice, and keeps its window only.

    Reads are of two kinds, each with places of its own, so that neither waits for the other: those
    whose whole is read here, within a deadline, and those that go on to a client as fast as it
    takes them.
    """

    def __init__(
        self,
        kube: Kube,
        *,
        reads: int = 8,
        waiting: int = 56,
        passing: int = 48,
        deadline_s: float = _CALL_S,
    ) -> None:
        """Read nothing yet.

        Args:
            kube: the API server.
            reads: logs that are read here at once; two of a user, if they are eight.
            waiting: further ones that wait, within the deadline.
            passing: logs that are passed on at once; further ones wait for as long as the deadline, too.
            deadline_s: seconds.
        """
        self._kube: Final = kube
        self.reads: Final = ConcurrencyLimit(reads, waiting)
        self.passing: Final = ConcurrencyLimit(passing, _PASSING_WAITING)
        self._deadline_s: Final = deadline_s

    async def window(
        self, log: PodLog, caller: Caller, offset: int, limit: int
    ) -> tuple[Window, int, str]:
        """Return a window of a live log, how long the log is by now, and the file that the places are of.

        Raises:
            RequestError: the log cannot be read, or not in time; or too many are read already.
        """
        async with self._in_time(caller):
            # First: what is read then is of this file, or of one after it, which is seen next time.
            file = await current_log_file(self._kube, caller.token, log) if log.begun else ""
            if offset < 0:
                size = 0
                async with self._open(log, caller.token) as parts:
                    async for part in parts:
                        size += len(part)
                offset = max(size + offset, 0)
            reader = WindowReader(offset, limit)
            async with self._open(log, caller.token) as parts:
                async for part in parts:
                    reader.feed(part)
        return reader.end(), reader.position, file

    async def search(
        self, log: PodLog, caller: Caller, pattern: "re.Pattern[bytes]", start: int, limit: int
    ) -> dict[str, Any]:
        """Search a live log from a line's beginning on, until the deadline.

        Raises:
            RequestError: the log cannot be read, or not in time; or too many are read already.
        """
        scan = _Scan(Search(pattern, limit=limit, start=start), start)
        async with self._in_time(caller), self._open(log, caller.token) as parts:
            async for block in parts:
                # A text and a log that are much alike take a sixth of a second for each MiB.
                if not await asyncio.to_thread(scan.goes_on_after, block):
                    return scan.result(complete=False)
            return await asyncio.to_thread(scan.result, complete=True)

    @asynccontextmanager
    async def stream(self, log: PodLog, caller: Caller) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a live log from its beginning, for one who takes it at a speed of its own.

        Raises:
            RequestError: the log cannot be read; or too many are.
        """
        async with self.streaming_slot(caller), self._open(log, caller.token) as parts:
            yield parts

    @asynccontextmanager
    async def streaming_slot(self, caller: Caller) -> AsyncIterator[None]:
        """Wait for a place of one who takes a log at a speed of its own, live or archived.

        Raises:
            BusyError: too many do.
        """
        async with AsyncExitStack() as stack:
            slot = self.passing.slot(caller.user, _TOO_MANY)
            try:
                async with StallTolerantTimeout(self._deadline_s):
                    await stack.enter_async_context(slot)
            except TimeoutError as error:
                raise BusyError(f"{_TOO_MANY}: try again", retry_after_s=5) from error
            yield

    @asynccontextmanager
    async def _in_time(self, caller: Caller) -> AsyncIterator[None]:
        slot = self.reads.slot(caller.user, _TOO_MANY)
        try:
            async with StallTolerantTimeout(self._deadline_s), slot:
                yield
        except TimeoutError as error:
            raise BusyError(
                f"the log was not read in {self._deadline_s:g} s: it is too long for that, or its "
                "node or this console is busy; try again, or download it",
                retry_after_s=5,
            ) from error

    @asynccontextmanager
    async def _open(self, log: PodLog, token: str | None) -> AsyncIterator[AsyncIterator[bytes]]:
        if not log.begun:
            raise NotFoundError("the container has not begun: it has no log yet")
        async with open_log(self._kube, token, log) as parts:
            yield parts
