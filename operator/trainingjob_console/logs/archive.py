"""Reads the log archive of a job from the log volume, in the format that the operator writes.

All calls block: run them in a thread. Users can write to the volume, too. So the file name is built from a uid only,
symbolic links are not followed, and the file must be a regular file with a single hard link.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from trainingjob_api.log_sections import Section, prefix_of, read_trailer

MAX_SECTIONS: Final = 20_000
"""Newest sections that are listed; earlier ones can only be read with the whole file."""

_UID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_BLOCK: Final = 262_144
_MAX_TRAILER: Final = 256


def archive_name(uid: str) -> str | None:
    """Return the name of a job's archive in the root of the volume; None: the text is not a uid."""
    return f"job_{uid}.log" if _UID.fullmatch(uid) else None


@dataclass(frozen=True, slots=True)
class SectionBody:
    """The position of one section's log lines in the archive file.

    Attributes:
        section: rank, attempt, container and pod of the log.
        start: offset of the first line.
        end: offset of the section's trailer.
        cut: bytes at the beginning of the log that the archive left out.
    """

    section: Section
    start: int
    end: int
    cut: int


class PlainLines:
    """Removes the rank prefix from the lines of a section, which are fed in parts."""

    def __init__(self, rank: int) -> None:
        self._prefix: Final = prefix_of(rank)
        self._joint: Final = b"\n" + self._prefix
        self._pending = b""
        self._at_start = True

    def feed(self, block: bytes) -> bytes:
        """Return the output for this part, without rank prefixes; a possible beginning of a prefix is buffered."""
        data = self._pending + block
        if self._at_start:
            if len(data) < len(self._prefix):
                self._pending = data
                return b""
            data, self._at_start = data.removeprefix(self._prefix), False
        # A prefix may be split between two blocks.
        newline = data.rfind(b"\n", max(len(data) - len(self._joint), 0))
        end = newline if newline >= 0 else len(data)
        self._pending = data[end:]
        return data[:end].replace(self._joint, b"\n")

    def end(self) -> bytes:
        """Return the buffered rest: the section ends here."""
        rest, self._pending = self._pending, b""
        return rest.replace(self._joint, b"\n")


class Archive:
    """The archive of a job, opened for reading."""

    def __init__(self, fd: int) -> None:
        """Take ownership of an open file descriptor."""
        self._fd: Final = fd
        self.size: Final = os.fstat(fd).st_size
        """Bytes when it was opened: sections are appended after that."""

    @classmethod
    def open(cls, root: Path, uid: str) -> Self | None:
        """Open a job's archive; None: there is none.

        Raises:
            OSError: the volume does not respond, or the file is not a regular file with one link.
        """
        name = archive_name(uid)
        if name is None:
            return None
        directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fd = os.open(name, _FLAGS, dir_fd=directory)
        except FileNotFoundError:
            return None
        finally:
            os.close(directory)
        found = os.fstat(fd)
        if found.st_nlink == 0:  # removed since it was opened
            os.close(fd)
            return None
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            os.close(fd)
            raise PermissionError(errno.EPERM, "not a regular file with a single link", name)
        return cls(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def bodies(self) -> list[SectionBody]:
        """Return the complete sections, oldest first."""
        return list(self._bodies())[::-1]

    def body(self, attempt: int, rank: int, container: str) -> SectionBody | None:
        """Return the newest section of a rank's container in an attempt; "": the main container."""
        wanted = (attempt, rank, container)
        for each in reversed(self.bodies()):
            if (each.section.attempt, each.section.rank, each.section.container) == wanted:
                return each
        return None

    def lines(self, body: SectionBody) -> Iterator[bytes]:
        """Yield the log of a section as the container wrote it, without rank prefixes."""
        plain = PlainLines(body.section.rank)
        for block in self.blocks(body.start, body.end):
            if found := plain.feed(block):
                yield found
        if rest := plain.end():
            yield rest

    def blocks(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes of a range of the file."""
        while start < end and (block := os.pread(self._fd, min(_BLOCK, end - start), start)):
            yield block
            start += len(block)

    def _bodies(self) -> Iterator[SectionBody]:
        end = self.size
        for _ in range(MAX_SECTIONS):
            found = self._ending_at(end) if end else None
            if found is None and end == self.size:
                found = self._last_whole()
            if found is None:
                return
            yield found
            end = found.start - len(found.section.header)

    def _last_whole(self) -> SectionBody | None:
        """Return the last complete section, if another one is being written after it."""
        floor = max(self.size - 24 * 2**20, 0)
        high = self.size
        while high > floor:
            low = max(high - _BLOCK, floor)
            block = os.pread(self._fd, high - low + _MAX_TRAILER, low)
            at = len(block)
            while (at := block.rfind(b"\n<== attempt ", 0, at)) >= 0:
                end = block.find(b"\n", at + 1)
                found = self._ending_at(low + end + 1) if end >= 0 else None
                if found is not None:
                    return found
            high = low
        return None

    def _ending_at(self, end: int) -> SectionBody | None:
        base = max(end - _MAX_TRAILER, 0)
        tail = os.pread(self._fd, end - base, base)
        line = tail[tail.rfind(b"\n", 0, -1) + 1 :]
        trailer = read_trailer(line)
        if trailer is None:
            return None
        header = trailer.section.header
        start = end - len(line) - trailer.size - len(header)
        if start < 0 or os.pread(self._fd, len(header), start) != header:
            return None
        first = start + len(header)
        return SectionBody(trailer.section, first, first + trailer.size, trailer.cut)
