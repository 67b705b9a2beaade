"""Searches a streamed log: for lines with a text, and for the first error line."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

MAX_HITS: Final = 1000
MAX_SHOWN: Final = 512
"""Bytes of a matching line that are returned."""

_BLOCK: Final = 1 << 20
_STEP: Final = 1 << 14
"""Bytes per call of the regular expression, which holds the GIL: all other threads wait meanwhile."""

LONGEST: Final = 1 << 10
"""Maximum bytes of a match."""

_ERROR_WORDS: Final = (
    b"Traceback (most recent",
    b"ERROR",
    b"Error",
    b"FATAL",
    b"CRITICAL",
    b"panic:",
)
ERROR: Final = re.compile(rb"Traceback \(most recent|\b(?:ERROR|Error|FATAL|CRITICAL|panic:)")
"""Matches an error line: case-sensitive words that programs print with errors."""


class Search:
    """Searches a log that is fed in parts from the beginning of a line, and keeps the first hits.

    Lines of any length are searched in blocks of 1 MiB, each with the end of the previous block.
    """

    def __init__(
        self,
        pattern: "re.Pattern[bytes]",
        *,
        limit: int,
        start: int = 0,
        words: tuple[bytes, ...] = (),
    ) -> None:
        """Initialize with nothing fed yet.

        Args:
            pattern: matches a hit, in at most `LONGEST` bytes.
            limit: maximum number of hits.
            start: offset of the first part, at the beginning of a line.
            words: every hit begins with one of these, which are found faster than the pattern. Empty: a hit can
                begin with anything.
        """
        self._words: Final = words
        self._pattern: Final = pattern
        self._limit: Final = min(limit, MAX_HITS)
        self._pending = bytearray()
        self._pending_at = start
        self._in_hit_line = False
        self.hits: Final[list[dict[str, Any]]] = []

    @property
    def scanned(self) -> int:
        """The offset up to which the log was searched: usually the beginning of a line."""
        return self._pending_at

    @property
    def is_full(self) -> bool:
        """True if the limit of hits is reached."""
        return len(self.hits) >= self._limit

    def feed(self, part: bytes) -> None:
        """Search the next part."""
        self._pending += part
        newline = self._pending.rfind(b"\n")
        if newline >= 0:
            self._look(newline + 1)
        if len(self._pending) > _BLOCK:  # one long line: only its first block is searched
            self._look(len(self._pending))
            self._in_hit_line = True

    def end(self) -> None:
        """Search the last line, which is incomplete."""
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
        while not self.is_full and (match := self._find(block, at)) is not None:
            start = block.rfind(b"\n", 0, match.start()) + 1
            stop = block.find(b"\n", match.start())
            stop = len(block) if stop < 0 else stop
            line = block[start : min(stop, start + MAX_SHOWN)].decode("utf-8", "replace")
            self.hits.append({"offset": base + start, "line": line})
            at = stop + 1
        self._pending_at = base + (at if self.is_full else end)

    def _find(self, block: bytes, at: int) -> "re.Match[bytes] | None":
        if not self._words:
            # Each step includes what a match may extend to beyond it, so the first match found is the first of all.
            steps = (
                self._pattern.search(block, position, position + _STEP + LONGEST)
                for position in range(at, len(block), _STEP)
            )
            return next((match for match in steps if match is not None), None)
        matches = (
            self._pattern.match(block, position) for position in _positions(self._words, block, at)
        )
        return next((match for match in matches if match is not None), None)


def _positions(words: tuple[bytes, ...], block: bytes, at: int) -> Iterator[int]:
    """Yield the positions of the words in ascending order, from a position."""
    next_positions = {word: position for word in words if (position := block.find(word, at)) >= 0}
    while next_positions:
        word, position = min(next_positions.items(), key=lambda item: item[1])
        yield position
        next_positions[word] = block.find(word, position + 1)
        if next_positions[word] < 0:
            del next_positions[word]


def first_error(parts: Iterable[bytes]) -> int | None:
    """Return the offset of the first error line of a log; None: it has none."""
    search = Search(ERROR, limit=1, words=_ERROR_WORDS)
    for part in parts:
        search.feed(part)
        if search.is_full:
            break
    else:
        search.end()
    return search.hits[0]["offset"] if search.hits else None
