"""Reads windows of one log, searches it, and streams downloads, live or archived: with deadlines and bounded memory."""

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
from trainingjob_console.logs.archive import Archive, PlainLines, SectionBody
from trainingjob_console.logs.archive_reader import ArchiveReader
from trainingjob_console.logs.pods import PodLog, current_log_file, open_log
from trainingjob_console.logs.search import Search
from trainingjob_console.logs.window import Window, WindowReader

SEARCH_S: Final = 5.0
_DEADLINE_S: Final = 20.0
PART: Final = 2**20
"""Bytes of an archived log per read when the whole log is sent."""

_STREAMS_WAITING: Final = 464
_TOO_MANY: Final = "too many logs are being read"
_LOOK_BACK: Final = 2**20
"""Bytes before a window of a whole archive that are searched for the beginning of its first line."""


def section_parts(archive: Archive, body: SectionBody | None, start: int = 0) -> Iterator[bytes]:
    """Yield the log of a section; without a section, the whole file from an offset."""
    return archive.blocks(start, archive.size) if body is None else archive.lines(body)


def archived_window(
    archive: Archive, body: SectionBody | None, offset: int, limit: int
) -> tuple[Window, int]:
    """Return a window of an archived log, and the log's size."""
    if body is None:
        size = archive.size
        offset = max(size + offset, 0) if offset < 0 else offset
        start = max(offset - _LOOK_BACK, 0)
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
    archives: ArchiveReader,
    uid: str,
    user: str,
    size: int,
    body: SectionBody | None,
    *,
    part: int = PART,
) -> AsyncGenerator[bytes]:
    """Yield an archived log in parts. Each part is read in a thread, which opens the file again.

    Args:
        archives: reads the log volume.
        uid: of the job.
        user: the user who reads.
        size: of the archive.
        body: the log's section; None: the whole archive.
        part: bytes per read.

    Raises:
        BusyError: the volume does not respond, or the archive was removed. The transfer is aborted, so that a
            partial log is not taken for the whole.
    """
    plain = None if body is None else PlainLines(body.section.rank)
    first, end = (0, size) if body is None else (body.start, body.end)
    for start in range(first, end, part):
        stop = min(start + part, end)
        read = partial(_read_part, start=start, end=stop)
        data = await archives.with_archive(uid, read, user=user)
        if data is None or len(data) < stop - start:
            raise BusyError("the archive was removed or truncated while it was read")
        yield data if plain is None else plain.feed(data)
    if plain is not None:
        yield plain.end()


def _read_part(archive: Archive, *, start: int, end: int) -> bytes:
    return b"".join(archive.blocks(start, end))


def search_archived(
    archive: Archive,
    body: SectionBody | None,
    pattern: "re.Pattern[bytes]",
    start: int,
    limit: int,
) -> dict[str, Any]:
    """Search an archived log from the beginning of a line, until the deadline."""
    scan = _Scan(Search(pattern, limit=limit, start=start), start if body is not None else 0)
    for block in section_parts(archive, body, start):
        if not scan.feed(block):
            return scan.result(complete=False)
    return scan.result(complete=True)


class _Scan:
    """Feeds blocks to a search until its deadline; skips the bytes before its start."""

    def __init__(self, search: Search, skip: int) -> None:
        self._search: Final = search
        self._skip = skip
        self._until: Final = perf_counter() + SEARCH_S

    def feed(self, block: bytes) -> bool:
        """Search the next block; return False once the search is full or its deadline has passed."""
        part, self._skip = block[self._skip :], max(self._skip - len(block), 0)
        self._search.feed(part)
        return not self._search.is_full and perf_counter() <= self._until

    def result(self, *, complete: bool) -> dict[str, Any]:
        """Return the hits; `complete`: the log was searched to its end."""
        if complete:
            self._search.end()
        found = self._search
        return {"hits": found.hits, "scanned": found.scanned, "complete": complete}


class LiveReader:
    """Reads live logs of pods: each request streams the log once or twice, and keeps only its window.

    Two kinds of reads have separate concurrency limits, so that neither waits for the other: those that read the
    log here, within a deadline, and those that stream it to a client at the speed of the client.
    """

    def __init__(
        self,
        kube: Kube,
        *,
        reads: int = 8,
        waiting: int = 56,
        streams: int = 48,
        deadline_s: float = _DEADLINE_S,
    ) -> None:
        """Initialize without reading anything.

        Args:
            kube: client of the API server.
            reads: logs that are read here concurrently; if eight, two per user.
            waiting: further reads that wait, within the deadline.
            streams: logs that are streamed to clients concurrently; further ones wait up to the deadline.
            deadline_s: seconds for a read, and for the wait of a stream.
        """
        self._kube: Final = kube
        self.reads: Final = ConcurrencyLimit(reads, waiting)
        self.streams: Final = ConcurrencyLimit(streams, _STREAMS_WAITING)
        self._deadline_s: Final = deadline_s

    async def window(
        self, log: PodLog, caller: Caller, offset: int, limit: int
    ) -> tuple[Window, int, str]:
        """Return a window of a live log, the length of the log, and the name of the file that offsets count in.

        Raises:
            RequestError: the log cannot be read, or not in time; or too many logs are being read.
        """
        async with self._deadline(caller):
            # Read first: the window is then of this file, or of a later one, which the next request detects.
            file = await current_log_file(self._kube, caller.token, log) if log.has_started else ""
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
        """Search a live log from the beginning of a line, until the deadline.

        Raises:
            RequestError: the log cannot be read, or not in time; or too many logs are being read.
        """
        scan = _Scan(Search(pattern, limit=limit, start=start), start)
        async with self._deadline(caller), self._open(log, caller.token) as parts:
            async for block in parts:
                # In a thread: the worst case, a log that almost matches the text, takes a sixth of a second per MiB.
                if not await asyncio.to_thread(scan.feed, block):
                    return scan.result(complete=False)
            return await asyncio.to_thread(scan.result, complete=True)

    @asynccontextmanager
    async def stream(self, log: PodLog, caller: Caller) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a live log from its beginning, for a client that reads at its own speed.

        Raises:
            RequestError: the log cannot be read; or too many logs are being read.
        """
        async with self.streaming_slot(caller), self._open(log, caller.token) as parts:
            yield parts

    @asynccontextmanager
    async def streaming_slot(self, caller: Caller) -> AsyncIterator[None]:
        """Wait for a slot to stream a log, live or archived, at the speed of its client.

        Raises:
            BusyError: too many logs are being streamed.
        """
        async with AsyncExitStack() as stack:
            slot = self.streams.slot(caller.user, _TOO_MANY)
            try:
                async with StallTolerantTimeout(self._deadline_s):
                    await stack.enter_async_context(slot)
            except TimeoutError as error:
                raise BusyError(f"{_TOO_MANY}: try again", retry_after_s=5) from error
            yield

    @asynccontextmanager
    async def _deadline(self, caller: Caller) -> AsyncIterator[None]:
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
        if not log.has_started:
            raise NotFoundError("the container has not started: it has no log yet")
        async with open_log(self._kube, token, log) as parts:
            yield parts
