"""Searches a log as it goes by: lines that have a text, and the first one that speaks of an error."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

MAX_HITS: Final = 1000
MAX_SHOWN: Final = 512
"""Bytes of a hit that are shown."""

_BLOCK: Final = 1 << 20
_STEP: Final = 1 << 14
"""Bytes that are looked at in one go: nothing else in the process is done meanwhile, in no thread."""

LONGEST: Final = 1 << 10
"""Bytes of what is looked for at most."""

_ERROR_WORDS: Final = (
    b"Traceback (most recent",
    b"ERROR",
    b"Error",
    b"FATAL",
    b"CRITICAL",
    b"panic:",
)
ERROR: Final = re.compile(rb"Traceback \(most recent|\b(?:ERROR|Error|FATAL|CRITICAL|panic:)")
"""What a line has that is taken for the first error: words that programs print, by case."""


class Search:
    """Takes a log part by part, from a line's beginning on, and keeps the first hits.

    A line of any length is searched in blocks of 1 MiB, each with the end of the one before.
    """

    def __init__(
        self,
        pattern: "re.Pattern[bytes]",
        *,
        limit: int,
        start: int = 0,
        words: tuple[bytes, ...] = (),
    ) -> None:
        """Begin.

        Args:
            pattern: what a line must have, in `LONGEST` bytes.
            limit: hits at most.
            start: the offset of the first part, at which a line begins.
            words: one of these is where a hit begins; they are found faster than a pattern. Empty:
                a hit can begin with anything.
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
            # A step with what may reach beyond it: so the first one found is the first one there is.
            steps = (
                self._pattern.search(block, place, place + _STEP + LONGEST)
                for place in range(at, len(block), _STEP)
            )
            return next((match for match in steps if match is not None), None)
        matches = (self._pattern.match(block, place) for place in _places(self._words, block, at))
        return next((match for match in matches if match is not None), None)


def _places(words: tuple[bytes, ...], block: bytes, at: int) -> Iterator[int]:
    """Yield where the words are, from a place on."""
    following = {word: place for word in words if (place := block.find(word, at)) >= 0}
    while following:
        word, place = min(following.items(), key=lambda item: item[1])
        yield place
        following[word] = block.find(word, place + 1)
        if following[word] < 0:
            del following[word]


def first_error(parts: Iterable[bytes]) -> int | None:
    """Return the offset of the first line of a log that speaks of an error; None: none does."""
    search = Search(ERROR, limit=1, words=_ERROR_WORDS)
    for part in parts:
        search.feed(part)
        if search.is_full:
            break
    else:
        search.end()
    return search.hits[0]["offset"] if search.hits else None
