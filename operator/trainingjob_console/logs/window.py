"""A window of a log by bytes: whole lines, the long ones cut, with a memory of the window's size.

Places are bytes of the log as the container wrote it. So a live log and its archive agree on them,
and a log of any size needs no index.
"""

from dataclasses import dataclass
from typing import Final

MAX_WINDOW: Final = 262_144
"""Bytes of a log that one answer covers at most; a line that is longer is cut."""

MAX_LINE: Final = 16_384
"""Bytes of a line that are shown."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a log.

    Attributes:
        offset: of its first byte.
        following: the offset of what follows it.
        text: whole lines, and at the end of a log that grows the beginning of one.
        cut: how many lines were cut.
    """

    offset: int
    following: int
    text: str
    cut: int


class WindowReader:
    """Takes a log part by part, from a line's beginning on, and keeps the window.

    The first line is the one that begins at or after the offset; where none begins in the window, it
    is the one that covers it, from its beginning.
    """

    def __init__(self, offset: int, limit: int, *, start: int = 0) -> None:
        """Begin.

        Args:
            offset: of the window.
            limit: bytes that it covers at most.
            start: the offset of the first part, at which a line begins.
        """
        self._offset: Final = offset
        self._limit: Final = min(limit, MAX_WINDOW)
        self._line_start = start
        self._head = bytearray()  # of the line that is not complete
        self._lines: Final[list[bytes]] = []
        self._first: int | None = None
        self._covering: tuple[int, int, bytes] | None = None
        self._next = start
        self._cut = 0
        self.position = start
        self.is_full = False
        """True if nothing that follows comes into the window."""

    def feed(self, part: bytes) -> None:
        """Take what follows."""
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
        """Return the window; the log ends here, for now."""
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
        """Pass over lines that are before the window; return where the last one begins."""
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
