"""Reads and writes a job's log archive: the file `job_<uid>.log`, with one section for each pod.

    ==> attempt 0 rank 1 pod 5f0c...
    [rank 1] epoch 1: loss 0.31
    <== attempt 0 rank 1 pod 5f0c... bytes 28 cut 0

The first line of a section is its header, the last one its trailer. Every line in between begins
with the rank, so that a rank can forge neither header nor trailer. `bytes` is the length of the
lines in between: a reader finds the header from the trailer, and walks a file of any size section
by section from its end. `cut` is the number of bytes at the beginning of the container's log that
were dropped because the log exceeded the limit. A trailer that ends in `running` belongs to a pod
that was about to be stopped, and had not ended when its log was read.

A failed container other than the main one has its own section, whose header names it:

    ==> attempt 0 rank 1 pod 5f0c... container fetch

A section with a trailer is complete, and is never changed again. One without a trailer is
incomplete: its writer removes it when it gives up (the volume is full), or the next writer does
(the process died). So each container has at most one section, wherever a writer died.

Only one writer at a time works on a file, and locks it. But two operators can overlap during a
takeover, and not every file system supports locks. So a writer checks before each write that the
file's size is unchanged, and before the trailer that its header is still there. It never completes
a section that another writer has removed.

The file is created with its first section: a job whose logs cannot be read leaves no file. All
functions block, and raise OSError as the file system does.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from trainingjob_api.errors import ArchiveBusyError
from trainingjob_api.log_sections import (
    HEADER,
    HEADER_START,
    Section,
    Written,
    prefix_of,
    read_trailer,
)
from trainingjob_operator.volume.safe_open import lock

LIMIT: Final = 10 * 2**20
"""Largest section in bytes; the newest bytes are kept."""

MAX_SECTIONS: Final = 200_000
"""Limit of the sections that a search visits; a thousand ranks leave fewer in all attempts."""

_BLOCK: Final = 65_536
_MAX_LINE: Final = 256
_MODE: Final = 0o644
_MARK: Final = re.compile(rb"^(?:==>|<==) attempt ", re.MULTILINE)


def _check_plain(fd: int, name: str) -> None:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise PermissionError(errno.EPERM, "not a regular file with a single hard link", name)


@dataclass(frozen=True, slots=True)
class ArchiveLocation:
    """The directory and the file name of an archive, which may not exist yet.

    Attributes:
        root_fd: descriptor of the directory.
        name: file name in that directory.
    """

    root_fd: int
    name: str

    def open(self, *, create: bool = False) -> int | None:
        """Open the file and lock it. None: it does not exist.

        Follows no symbolic link, and refuses anything but a regular file with a single hard link:
        users can create entries on the volume.

        Raises:
            ArchiveBusyError: another process holds the lock.
            OSError: it cannot be opened, or is not a file of ours.
        """
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        flags |= os.O_CREAT if create else 0
        try:
            fd = os.open(self.name, flags, _MODE, dir_fd=self.root_fd)
        except FileNotFoundError:
            if create:
                raise
            return None
        try:
            _check_plain(fd, self.name)
            lock(fd)
        except BlockingIOError as error:
            os.close(fd)
            raise ArchiveBusyError(f"another process holds the lock on {self.name}") from error
        except BaseException:
            os.close(fd)
            raise
        return fd


class ArchiveFile:
    """A job's archive, open for one writer."""

    def __init__(
        self, fd: int | None, *, limit: int = LIMIT, location: ArchiveLocation | None = None
    ) -> None:
        """Take over an open file, and remove an incomplete section.

        Args:
            fd: opened for reading and writing; closed by `close`. None: the file is created with
                the first section.
            limit: largest section in bytes.
            location: where to create the file; its descriptor is closed by `close`.
        """
        self._opened: int | None = fd
        self._location: Final = location
        self._limit: Final = limit
        self._section: Section | None = None
        self._start = 0  # of the section that is being written
        self._here = 0  # offset of its next write
        self._lines = 0  # lines that end in it
        self._cut = 0
        self._end = self._repair() if fd is not None else 0

    @classmethod
    def open(cls, root_fd: int, name: str, *, limit: int = LIMIT) -> Self:
        """Open the archive of this name in a directory. If it does not exist, `begin` creates it.

        Raises:
            ArchiveBusyError: another process holds the lock; retry in a moment.
            OSError: it cannot be opened, or is not a file of ours.
        """
        location = ArchiveLocation(os.dup(root_fd), name)
        fd: int | None = None
        try:
            fd = location.open()
            return cls(fd, limit=limit, location=location)
        except BaseException:
            for opened in (fd, location.root_fd):
                if opened is not None:
                    os.close(opened)
            raise

    def close(self) -> None:
        """Close the file. The next writer removes a section that is neither finished nor abandoned."""
        if self._location is not None:
            os.close(self._location.root_fd)
        if self._opened is not None:
            os.close(self._opened)

    @property
    def size(self) -> int:
        """Bytes up to the end of the last complete section."""
        return self._end

    def find(self, pod: str, container: str = "") -> Written | None:
        """Return the complete section of a pod's container, searching from the end; else None."""
        wanted = (pod, container)
        return next(
            (s for s in self._sections() if (s.section.pod, s.section.container) == wanted), None
        )

    def ranks_of(self, attempt: int) -> frozenset[int]:
        """Return the ranks that have a complete section of this attempt."""
        sections = (found.section for found in self._sections())
        return frozenset(section.rank for section in sections if section.attempt == attempt)

    def begin(self, section: Section) -> None:
        """Begin a section at the end of the file, replacing one that was not finished.

        Raises:
            ArchiveBusyError: another process has created the file meanwhile, or writes to it.
            OSError: as the file system raises it.
        """
        if self._opened is None:
            assert self._location is not None
            self._opened = self._location.open(create=True)
        self.abandon()
        if self._size() != self._end:
            raise ArchiveBusyError("another process writes to the archive")
        self._section, self._start = section, self._end
        self._lines = self._cut = 0
        self._append(self._end, section.header)
        self._here = self._end + len(section.header)

    def write(self, data: bytes) -> None:
        """Write some of the section's lines, which already have their prefixes.

        When the section reaches twice the limit, its newest half is moved to the front, one block
        at a time in memory. A byte is moved at most once for each `limit` bytes written.

        Raises:
            ArchiveBusyError: another process has written to the file meanwhile.
            OSError: as the file system raises it.
        """
        self._check_size()
        self._append(self._here, data)
        self._here += len(data)
        self._lines += data.count(b"\n")
        if self._here - self._body >= 2 * self._limit:
            self._drop_oldest()

    def finish(self, *, running: bool = False) -> int:
        """Complete the section by its trailer.

        The lines are synced to disk before the trailer is written.

        Returns:
            Size of the file in bytes.

        Raises:
            ArchiveBusyError: another process has written to the file meanwhile: the section is
                incomplete, and has to be written again.
            OSError: as the file system raises it.
        """
        assert self._section is not None
        self._check_size()
        if self._here - self._body > self._limit:
            self._drop_oldest()
        here = self._here
        os.fsync(self._fd)
        self._check_size()
        if os.pread(self._fd, len(self._section.header), self._start) != self._section.header:
            raise ArchiveBusyError("another process has removed the section that was begun")
        trailer = self._section.trailer(here - self._body, self._cut, running=running)
        self._append(here, trailer)
        os.fsync(self._fd)
        self._section, self._end = None, here + len(trailer)
        return self._end

    def abandon(self) -> None:
        """Remove a section that was begun and is incomplete, to free its space on the volume."""
        if self._section is not None and self._is_ours() and self._ending_at(self._size()) is None:
            self._truncate(self._end)
        self._section = None

    @property
    def cut(self) -> int:
        """Bytes dropped from the beginning of the section that was written last."""
        return self._cut

    # --- the section that is being written --------------------------------------------------------

    @property
    def _body(self) -> int:
        assert self._section is not None
        return self._start + len(self._section.header)

    @property
    def _fd(self) -> int:
        assert self._opened is not None
        return self._opened

    def _size(self) -> int:
        return os.fstat(self._fd).st_size

    def _check_size(self) -> None:
        if self._size() != self._here:
            raise ArchiveBusyError("another process writes to the archive")

    def _is_ours(self) -> bool:
        """True if our header, or the beginning of it, is still where the section was begun."""
        assert self._section is not None
        header = self._section.header
        return header.startswith(os.pread(self._fd, len(header), self._start))

    def _append(self, at: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, at)
            at, view = at + written, view[written:]

    def _truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def _drop_oldest(self) -> None:
        """Keep only the newest whole lines that fit into the limit."""
        assert self._section is not None
        end, target = self._here, self._body
        source = self._line_start(end - self._limit, end)
        if source == end:  # one line longer than the limit: keep its end
            prefix = prefix_of(self._section.rank)
            source = end - self._limit + len(prefix)
            self._append(target, prefix)
            target += len(prefix)
        self._cut += source - target
        kept = 0
        while source < end and (block := os.pread(self._fd, min(_BLOCK, end - source), source)):
            self._append(target, block)
            kept += block.count(b"\n")
            source, target = source + len(block), target + len(block)
        # Prefixes do not count: `cut` is an offset in the container's log, by which readers seek.
        self._cut -= (self._lines - kept) * len(prefix_of(self._section.rank))
        self._lines = kept
        self._truncate(target)
        self._here = target

    def _line_start(self, at: int, end: int) -> int:
        """Return the offset of the first line that begins at or after `at`; `end` if none does."""
        at -= 1  # a line begins at `at` itself if a newline precedes it
        while at < end:
            block = os.pread(self._fd, min(_BLOCK, end - at), at)
            if not block:
                break
            if (newline := block.find(b"\n")) >= 0:
                return at + newline + 1
            at += len(block)
        return end

    # --- reading existing sections ----------------------------------------------------------------

    def _sections(self) -> Iterator[Written]:
        end = self._end
        for _ in range(MAX_SECTIONS):
            found = self._ending_at(end) if end else None
            if found is None:
                return
            yield found
            end = found.start

    def _ending_at(self, end: int) -> Written | None:
        """Return the complete section that ends at this offset, if there is one."""
        tail = os.pread(self._fd, min(_MAX_LINE, end), max(end - _MAX_LINE, 0))
        line = tail[tail.rfind(b"\n", 0, -1) + 1 :]
        trailer = read_trailer(line)
        if trailer is None:
            return None
        section = trailer.section
        start = end - len(line) - trailer.size - len(section.header)
        if start < 0 or os.pread(self._fd, len(section.header), start) != section.header:
            return None
        return Written(section=section, start=start, end=end, cut=trailer.cut)

    def _repair(self) -> int:
        """Remove an incomplete section, and return the offset of the next one.

        Foreign content at the end stays; the next section begins after it.
        """
        end = self._size()
        if end == 0 or self._ending_at(end) is not None:
            return end
        whole, begun = self._last_whole(end)
        if begun is not None:
            self._truncate(begun)
            return begun
        if whole == end:
            return end
        if os.pread(self._fd, 1, end - 1) != b"\n":
            self._append(end, b"\n")
            end += 1
        return end

    def _last_whole(self, end: int) -> tuple[int, int | None]:
        """Return the end of the last complete section, and the start of an incomplete one after it.

        Searches backwards as far as an incomplete section can reach.
        """
        floor = max(end - 2 * self._limit - 2**20, 0)
        begun = self._torn_header(end)
        for start in self._marks_backwards(end, floor):
            line = self._line(start, end)
            after = start + len(line)
            if read_trailer(line) and self._ending_at(after) is not None:
                return after, begun
            if HEADER.fullmatch(line):
                begun = start
        return 0, begun

    def _marks_backwards(self, end: int, floor: int) -> Iterator[int]:
        """Yield the offsets of lines that look like a header or a trailer, the last one first."""
        high = end
        while high > floor:
            low = max(high - _BLOCK, floor)
            # One byte more to recognize the start of a line, and `_MAX_LINE` for a mark across blocks.
            base = max(low - 1, 0)
            block = os.pread(self._fd, high + _MAX_LINE - base, base)
            for mark in reversed(list(_MARK.finditer(block))):
                if low <= base + mark.start() < high:
                    yield base + mark.start()
            high = low

    def _torn_header(self, end: int) -> int | None:
        """Return the offset of a partly written header at the end of the file; else None."""
        tail = os.pread(self._fd, min(_MAX_LINE, end), max(end - _MAX_LINE, 0))
        line = tail[tail.rfind(b"\n") + 1 :]
        is_torn = line.startswith(HEADER_START) or (line and HEADER_START.startswith(line))
        return end - len(line) if is_torn else None

    def _line(self, start: int, end: int) -> bytes:
        """Return the line at this offset, cut off at `_MAX_LINE` bytes."""
        return os.pread(self._fd, min(end - start, _MAX_LINE), start).partition(b"\n")[0] + b"\n"
