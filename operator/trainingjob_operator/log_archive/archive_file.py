"""The file that keeps the logs of a job's ranks: `job_<uid>.log`, one section for each pod.

    ==> attempt 0 rank 1 pod 5f0c...
    [rank 1] epoch 1: loss 0.31
    <== attempt 0 rank 1 pod 5f0c... bytes 28 cut 0

The first line of a section is its header, the last one its trailer, and every line in between
begins with the rank: whatever a rank writes, it can forge neither. `bytes` is the length of what
stands between the two, so that a reader finds the header from the trailer, and walks from section
to section through a file of any size from its end. `cut` is how many bytes of the beginning of the
log, as the container wrote it, were left out because it is longer than the limit. A trailer that ends in `running` belongs to a
pod that had not ended when its log was read, because it was about to be stopped.

A container beside the main one that failed has a section of its own, which names it:

    ==> attempt 0 rank 1 pod 5f0c... container fetch

A section is whole when its trailer is there, and then it is never touched again. One without a
trailer was not finished: its writer removes it when it gives up (the volume is full), or the next
one does (the process died). So each container has one section at most, wherever a writer died.

There is one writer at a time: it locks the file. Two operators can run at once, while one takes
over from the other, and not every file system has locks. So a writer looks before each write
whether the file is as it left it, and before the trailer whether its header still stands: of a
section that another one has removed, nothing is called whole.

The file is made with its first section: a job of which nothing can be read leaves none.

Everything here blocks, and raises OSError as the file system does.
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
"""Bytes of a section at most, the newest."""

MAX_SECTIONS: Final = 200_000
"""Sections that a search walks over: more than a thousand ranks leave in all their attempts."""

_BLOCK: Final = 65_536
_MAX_LINE: Final = 256
_MODE: Final = 0o644
_MARK: Final = re.compile(rb"^(?:==>|<==) attempt ", re.MULTILINE)


def _check_plain(fd: int, name: str) -> None:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise PermissionError(errno.EPERM, "it is no plain file with one name", name)


@dataclass(frozen=True, slots=True)
class Place:
    """The place where an archive is, or will be.

    Attributes:
        root_fd: of the directory.
        name: in that directory.
    """

    root_fd: int
    name: str

    def open(self, *, create: bool = False) -> int | None:
        """Open the file and lock it. None: it is not there.

        Never through a link, and never anything that is no plain file or has a second name: what
        stands on the volume may have been put there by a user.

        Raises:
            ArchiveBusyError: another process writes there.
            OSError: it cannot be opened, or is no file of ours.
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

    def __init__(self, fd: int | None, *, limit: int = LIMIT, place: Place | None = None) -> None:
        """Take over an open file; an unfinished section is removed.

        Args:
            fd: opened for reading and writing; closed by `close`. None: it is made when the first
                section is begun.
            limit: bytes of a section at most.
            place: where to make it then; its descriptor is closed by `close`.
        """
        self._opened: int | None = fd
        self._place: Final = place
        self._limit: Final = limit
        self._section: Section | None = None
        self._start = 0  # of the section that is being written
        self._here = 0  # where it goes on
        self._lines = 0  # that end in it
        self._cut = 0
        self._end = self._mend() if fd is not None else 0

    @classmethod
    def open(cls, root_fd: int, name: str, *, limit: int = LIMIT) -> Self:
        """Open the archive of this name below the root. If it is not there, `begin` makes it.

        Raises:
            ArchiveBusyError: another process writes there; try again in a moment.
            OSError: it cannot be opened, or is no file of ours.
        """
        place = Place(os.dup(root_fd), name)
        fd: int | None = None
        try:
            fd = place.open()
            return cls(fd, limit=limit, place=place)
        except BaseException:
            for opened in (fd, place.root_fd):
                if opened is not None:
                    os.close(opened)
            raise

    def close(self) -> None:
        """Close the file. What is unfinished and not abandoned is removed by the next writer."""
        if self._place is not None:
            os.close(self._place.root_fd)
        if self._opened is not None:
            os.close(self._opened)

    @property
    def size(self) -> int:
        """Bytes of the whole sections, and of what stood before the first of them."""
        return self._end

    def find(self, pod: str, container: str = "") -> Written | None:
        """Return the section of a pod's container, if it is whole; the newest first."""
        wanted = (pod, container)
        return next(
            (s for s in self._sections() if (s.section.pod, s.section.container) == wanted), None
        )

    def ranks_of(self, attempt: int) -> frozenset[int]:
        """Return the ranks of which a section of this attempt is whole."""
        sections = (found.section for found in self._sections())
        return frozenset(section.rank for section in sections if section.attempt == attempt)

    def begin(self, section: Section) -> None:
        """Begin a section at the end of the file, in place of one that was not finished.

        Raises:
            ArchiveBusyError: another process has made the file meanwhile, or writes there.
            OSError: as the file system raises it.
        """
        if self._opened is None:
            assert self._place is not None
            self._opened = self._place.open(create=True)
        self.abandon()
        if self._size() != self._end:
            raise ArchiveBusyError("another process writes to the archive")
        self._section, self._start = section, self._end
        self._lines = self._cut = 0
        self._append(self._end, section.header)
        self._here = self._end + len(section.header)

    def write(self, data: bytes) -> None:
        """Write a part of the section's lines, each with its prefix already.

        At twice the limit the newest half moves to the front: memory holds a block at a time, and
        no byte is moved more than once for each time the limit is written.

        Raises:
            ArchiveBusyError: another process has written to the file meanwhile.
            OSError: as the file system raises it.
        """
        self._check_size()
        self._append(self._here, data)
        self._here += len(data)
        self._lines += data.count(b"\n")
        if self._here - self._body >= 2 * self._limit:
            self._shorten()

    def finish(self, *, running: bool = False) -> int:
        """End the section: from now on it is whole.

        The lines reach the disk before the trailer does.

        Returns:
            Bytes of the file.

        Raises:
            ArchiveBusyError: another process has written to the file meanwhile: the section is not
                whole, and has to be written anew.
            OSError: as the file system raises it.
        """
        assert self._section is not None
        self._check_size()
        if self._here - self._body > self._limit:
            self._shorten()
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
        """Remove the section that was begun, if it is not whole: it takes room that others lack."""
        if self._section is not None and self._is_ours() and self._ending_at(self._size()) is None:
            self._truncate(self._end)
        self._section = None

    @property
    def cut(self) -> int:
        """Bytes that were left out of the section that was written last."""
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
        """True if what stands where the section was begun is its header, or a part of that."""
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

    def _shorten(self) -> None:
        """Leave only the newest whole lines, as many as the limit has room for."""
        assert self._section is not None
        end, target = self._here, self._body
        source = self._line_start(end - self._limit, end)
        if source == end:  # a line that is longer than the limit: the end of it
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
        # Of the log itself: readers find a place of the whole log in what is left of it.
        self._cut -= (self._lines - kept) * len(prefix_of(self._section.rank))
        self._lines = kept
        self._truncate(target)
        self._here = target

    def _line_start(self, at: int, end: int) -> int:
        """Return where the first line begins at or after a place; the end, if no line does."""
        at -= 1  # that place begins a line if a newline stands before it
        while at < end:
            block = os.pread(self._fd, min(_BLOCK, end - at), at)
            if not block:
                break
            if (newline := block.find(b"\n")) >= 0:
                return at + newline + 1
            at += len(block)
        return end

    # --- what is there already --------------------------------------------------------------------

    def _sections(self) -> Iterator[Written]:
        end = self._end
        for _ in range(MAX_SECTIONS):
            found = self._ending_at(end) if end else None
            if found is None:
                return
            yield found
            end = found.start

    def _ending_at(self, end: int) -> Written | None:
        """Return the whole section that ends here, if one does."""
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

    def _mend(self) -> int:
        """Remove what was begun and not finished, and return where the next section begins.

        What stands there and is not ours stays: the next section begins behind it.
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
        """Return where the last whole section ends, and where an unfinished one begins behind it.

        It looks as far back as an unfinished section can reach.
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
        """Yield where lines begin that look like a header or a trailer, the last one first."""
        high = end
        while high > floor:
            low = max(high - _BLOCK, floor)
            # One byte more to see that a line begins there, and some for a mark on the border.
            base = max(low - 1, 0)
            block = os.pread(self._fd, high + _MAX_LINE - base, base)
            for mark in reversed(list(_MARK.finditer(block))):
                if low <= base + mark.start() < high:
                    yield base + mark.start()
            high = low

    def _torn_header(self, end: int) -> int | None:
        """Return where the beginning of a header begins, if the file ends in one."""
        tail = os.pread(self._fd, min(_MAX_LINE, end), max(end - _MAX_LINE, 0))
        line = tail[tail.rfind(b"\n") + 1 :]
        is_torn = line.startswith(HEADER_START) or (line and HEADER_START.startswith(line))
        return end - len(line) if is_torn else None

    def _line(self, start: int, end: int) -> bytes:
        """Return the line that begins here, or its beginning."""
        return os.pread(self._fd, min(end - start, _MAX_LINE), start).partition(b"\n")[0] + b"\n"
