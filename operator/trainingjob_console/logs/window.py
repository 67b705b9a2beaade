"""Reads a byte window of a log as whole lines, with memory bounded by the size of the window.

Offsets count the bytes of the log as the container wrote it. So they are the same in a live log and in its archive, and
a log of any size needs no index.
"""

from dataclasses import dataclass
from typing import Final

MAX_WINDOW: Final = 262_144
"""Maximum bytes of a log in one window; a longer line is truncated."""

MAX_LINE: Final = 16_384
"""Bytes of a line that are returned; longer lines are truncated."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a log.

    Attributes:
        offset: of its first byte.
        next_offset: offset of the byte after it.
        text: whole lines; at the end of a live log, possibly an incomplete one.
        cut: number of truncated lines.
    """

    offset: int
    next_offset: int
    text: str
    cut: int


class WindowReader:
    """Keeps the window of a log that is fed in parts, from the beginning of a line.

    The first line of the window is the first one that begins at or after the offset. If no line begins in the window,
    it is the line that covers the window, from its beginning.
    """

    def __init__(self, offset: int, limit: int, *, start: int = 0) -> None:
        """Initialize with nothing fed yet.

        Args:
            offset: of the window.
            limit: maximum bytes of the window.
            start: offset of the first part, at the beginning of a line.
        """
        self._offset: Final = offset
        self._limit: Final = min(limit, MAX_WINDOW)
        self._line_start = start
        self._head = bytearray()  # of the incomplete line
        self._lines: Final[list[bytes]] = []
        self._first: int | None = None
        self._covering: tuple[int, int, bytes] | None = None
        self._next = start
        self._cut = 0
        self.position = start
        self.is_full = False
        """True if further parts cannot add to the window."""

    def feed(self, part: bytes) -> None:
        """Add the next part."""
        at = 0
        if not self.is_full and self.position + len(part) < self._offset:
            at = self._skip(part)
        while not self.is_full and at < len(part):
            newline = part.find(b"\n", at)
            end = len(part) if newline < 0 else newline + 1
            room = MAX_LINE + 1 - len(self._head)
            if room > 0:
                self._head += part[at : min(end, at + room)]
            at = end
            if newline >= 0:
                self._end_line(self.position + end)
        self.position += len(part)

    def end(self) -> Window:
        """Return the window: this is the current end of the log."""
        if not self.is_full and self.position > self._line_start:
            self._end_line(self.position)
        if self._first is None and self._covering is not None:
            self._first, self._next, line = self._covering
            self._lines.append(line)
        if self._first is None:
            return Window(self.position, self.position, "", 0)
        text = b"".join(self._lines).decode("utf-8", "replace")
        return Window(self._first, self._next, text, self._cut)

    def _skip(self, part: bytes) -> int:
        """Skip lines before the window; return the position of the last line's beginning."""
        newline = part.rfind(b"\n")
        if newline >= 0:
            self._line_start = self.position + newline + 1
            self._head.clear()
        return newline + 1

    def _end_line(self, end: int) -> None:
        start, self._line_start = self._line_start, end
        head = bytes(self._head)
        self._head.clear()
        if self._first is None:
            covers = end >= self._offset + self._limit
            if start < self._offset and not covers:
                if end > self._offset:  # unless another line begins before the log ends
                    self._covering = (start, end, self._shown(head, end - start))
                return
            self._first, self._cut = start, 0
        elif end - self._first > self._limit:
            self.is_full = True
            return
        self._lines.append(self._shown(head, end - start))
        self._next = end
        self.is_full = (
            end - self._first >= self._limit or end >= self._offset + self._limit > start
        )

    def _shown(self, head: bytes, length: int) -> bytes:
        if length <= MAX_LINE + 1 and len(head) == length:
            return head
        self._cut += 1
        kept = head[:MAX_LINE].decode("utf-8", "ignore").encode()
        return kept + f" … {length - len(kept)} bytes more: download\n".encode()
