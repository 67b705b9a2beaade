"""Searches a log as it goes by: lines that have a text, and the first one that speaks of an error."""

import re
from typing import Any, Final

MAX_HITS: Final = 1000
MAX_SHOWN: Final = 512
"""Bytes of a hit that are shown."""

_BLOCK: Final = 1 << 20
ERROR: Final = re.compile(rb"Traceback \(most recent|\b(?:ERROR|Error|FATAL|CRITICAL|panic:)")
"""What a line has that is taken for the first error: words that programs print, by case."""


class Search:
    """Takes a log part by part, from a line's beginning on, and keeps the first hits.

    A line of any length is searched in blocks of 1 MiB, each with the end of the one before.
    """

    def __init__(self, pattern: "re.Pattern[bytes]", *, limit: int, start: int = 0) -> None:
        """Begin.

        Args:
            pattern: what a line must have.
            limit: hits at most.
            start: the offset of the first part, at which a line begins.
        """
        self._pattern: Final = pattern
        self._limit: Final = min(limit, MAX_HITS)
        self._pending = bytearray()
        self._pending_at = start
        self._in_hit_line = False
        self.hits: Final[list[dict[str, Any]]] = []

    @property
    def scanned(self) -> int:
        """The offset up to which all has been looked at: a line's beginning, as a rule."""
        return self._pending_at

    @property
    def is_full(self) -> bool:
        """True if there are as many hits as were asked for."""
        return len(self.hits) >= self._limit

    def feed(self, part: bytes) -> None:
        """Take what follows."""
        self._pending += part
        newline = self._pending.rfind(b"\n")
        if newline >= 0:
            self._look(newline + 1)
        if len(self._pending) > _BLOCK:  # one long line: its first block is what is looked at
            self._look(len(self._pending))
            self._in_hit_line = True

    def end(self) -> None:
        """Look at the last line, which is not complete."""
        self._look(len(self._pending))

    def _look(self, end: int) -> None:
        block = bytes(self._pending[:end])
        base = self._pending_at
        del self._pending[:end]
        at = 0
        if self._in_hit_line:  # the rest of a long line
            newline = block.find(b"\n")
            if newline < 0:
                self._pending_at = base + end
                return
            at, self._in_hit_line = newline + 1, False
        while not self.is_full and (match := self._pattern.search(block, at)) is not None:
            start = block.rfind(b"\n", 0, match.start()) + 1
            stop = block.find(b"\n", match.start())
            stop = len(block) if stop < 0 else stop
            line = block[start : min(stop, start + MAX_SHOWN)].decode("utf-8", "replace")
            self.hits.append({"offset": base + start, "line": line})
            at = stop + 1
        self._pending_at = base + (at if self.is_full else end)
