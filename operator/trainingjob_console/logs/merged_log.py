"""Merges the live logs of several ranks into one stream of whole lines, each prefixed with its rank.

Each chunk carries the position in its rank's log that it ends at. A page that reconnects sends the last position of
each rank, and its stream continues from there.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from trainingjob_api.log_sections import prefix_of
from trainingjob_console.sockets.frames import encode
from trainingjob_console.sockets.log_ring import LogChunk, LogRing

_MAX_LINE: Final = 16_384
_POD: Final = 8
"""Characters of a pod's uid in a position. They distinguish it from earlier pods of the same rank."""

_POSITION: Final = re.compile(r"([0-9]{1,5}):([0-9]{1,9}):([0-9a-z-]{1,8}):([0-9]{1,15})")


class RankLog(Protocol):
    """The log that one pod of a rank wrote."""

    @property
    def rank(self) -> int:
        """Rank of the pod."""
        ...

    @property
    def attempt(self) -> int:
        """Attempt of the pod."""
        ...

    @property
    def uid(self) -> str:
        """UID of the pod."""
        ...


@dataclass(frozen=True, slots=True)
class RankPosition:
    """A position in the log of a rank.

    Attributes:
        attempt: of the pod.
        pod: first characters of the pod's uid.
        offset: byte offset in the log.
    """

    rank: int
    attempt: int
    pod: str
    offset: int

    @classmethod
    def in_log(cls, log: RankLog, offset: int) -> "RankPosition":
        """Return the position at an offset of a log."""
        return cls(log.rank, log.attempt, log.uid[:_POD], offset)

    def is_in(self, log: RankLog) -> bool:
        """Return True if the position is in this log, not in that of another pod of the rank."""
        return self == RankPosition.in_log(log, self.offset)

    def __str__(self) -> str:
        """Return the text that a page sends back."""
        return f"{self.rank}:{self.attempt}:{self.pod}:{self.offset}"


def parse_positions(texts: Iterable[str]) -> dict[int, RankPosition]:
    """Return the positions that a page sent, by rank; malformed ones are skipped."""
    matches = (_POSITION.fullmatch(text) for text in texts)
    found = (RankPosition(int(m[1]), int(m[2]), m[3], int(m[4])) for m in matches if m is not None)
    return {position.rank: position for position in found}


class MergedLog:
    """Adds the lines of all ranks to one ring. Offsets there continue from what the page has already."""

    def __init__(self, ring: LogRing, offset: int = 0) -> None:
        self._ring: Final = ring
        self._position = offset

    def of(self, log: RankLog) -> "RankLines":
        """Return the reader that adds the log of one rank."""
        return RankLines(self, log)

    @property
    def has_room(self) -> bool:
        """True if the ring has room."""
        return self._ring.has_room

    def put(self, lines: bytes, position: str) -> None:
        """Add whole lines of a rank, which end at this position of its log."""
        start, self._position = self._position, self._position + len(lines)
        text = encode(lines.decode("utf-8", "replace"))
        self._ring.put(LogChunk(start, self._position, lines.count(b"\n"), text, position))

    def skip(self) -> None:
        """Report a gap: a part of some log is not available."""
        self._ring.skip(self._position, self._position)


class RankLines:
    """Joins the chunks of one log into whole lines; a line above 16 KiB is split."""

    def __init__(self, merged: MergedLog, log: RankLog) -> None:
        self._merged: Final = merged
        self._prefix: Final = prefix_of(log.rank)
        self._log: Final = log
        self._rest = b""
        self._next_offset = 0

    @property
    def next_offset(self) -> int:
        """The offset of the next chunk; 0: unknown, as none was received yet."""
        return self._next_offset

    @property
    def has_room(self) -> bool:
        """True if the shared ring has room."""
        return self._merged.has_room

    def put(self, chunk: LogChunk) -> None:
        """Add the next chunk: whole lines, or a part of one."""
        self._rest += str(json.loads(chunk.text)).encode()
        self._next_offset = chunk.next_offset
        if self._rest.endswith(b"\n"):
            self._emit(self._rest)
        elif len(self._rest) > _MAX_LINE:
            self._emit(self._rest + b"\n")

    def skip(self, _: int, end: int) -> None:
        """Continue at an offset, and report a gap before it."""
        self.close()
        self._next_offset = end
        self._merged.skip()

    def close(self) -> None:
        """Add the last line, which is incomplete."""
        if self._rest:
            self._emit(self._rest + b"\n")

    def _emit(self, lines: bytes) -> None:
        self._rest = b""
        marked = b"".join(self._prefix + line + b"\n" for line in lines[:-1].split(b"\n"))
        self._merged.put(marked, str(RankPosition.in_log(self._log, self._next_offset)))
