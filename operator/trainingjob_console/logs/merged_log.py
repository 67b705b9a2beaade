"""The live logs of several ranks as one: whole lines, each with its rank, as they come.

Each piece has the place in the log of its rank up to which it goes. A page that comes back hands in the
last one of each rank, and is sent what follows them.
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
"""Characters of a pod's uid that tell it from those that had its rank before."""

_PLACE: Final = re.compile(r"([0-9]{1,5}):([0-9]{1,9}):([0-9a-z-]{1,8}):([0-9]{1,15})")


class RankLog(Protocol):
    """The log of a rank, as one pod wrote it."""

    @property
    def rank(self) -> int:
        """The pod's."""
        ...

    @property
    def attempt(self) -> int:
        """The pod's."""
        ...

    @property
    def uid(self) -> str:
        """The pod's."""
        ...


@dataclass(frozen=True, slots=True)
class RankPosition:
    """A place in the log of a rank.

    Attributes:
        attempt: of the pod.
        pod: the beginning of the pod's uid.
        offset: in the log.
    """

    rank: int
    attempt: int
    pod: str
    offset: int

    @classmethod
    def in_log(cls, log: RankLog, offset: int) -> "RankPosition":
        """Return the place at an offset of a log."""
        return cls(log.rank, log.attempt, log.uid[:_POD], offset)

    def is_in(self, log: RankLog) -> bool:
        """Return True if it is in this log, and not in that of another pod of the rank."""
        return self == RankPosition.in_log(log, self.offset)

    def __str__(self) -> str:
        """Return it as a page hands it in."""
        return f"{self.rank}:{self.attempt}:{self.pod}:{self.offset}"


def parse_positions(texts: Iterable[str]) -> dict[int, RankPosition]:
    """Return the places that a page hands in, by rank; what is none is left out."""
    matches = (_PLACE.fullmatch(text) for text in texts)
    found = (RankPosition(int(m[1]), int(m[2]), m[3], int(m[4])) for m in matches if m is not None)
    return {place.rank: place for place in found}


class MergedLog:
    """Puts the lines of all ranks into one ring. Places there go on from what the page has."""

    def __init__(self, ring: LogRing, offset: int = 0) -> None:
        self._ring: Final = ring
        self._position = offset

    def of(self, log: RankLog) -> "RankLines":
        """Return a reader for the log of one rank."""
        return RankLines(self, log)

    @property
    def has_room(self) -> bool:
        """True if the ring has."""
        return self._ring.has_room

    def put(self, lines: bytes, place: str) -> None:
        """Add whole lines of a rank, which end at this place of its log."""
        start, self._position = self._position, self._position + len(lines)
        text = encode(lines.decode("utf-8", "replace"))
        self._ring.put(LogChunk(start, self._position, lines.count(b"\n"), text, place))

    def skip(self) -> None:
        """Say that a part is not there to be sent."""
        self._ring.skip(self._position, self._position)


class RankLines:
    """Makes whole lines of the pieces of one log; one that is longer than 16 KiB is broken."""

    def __init__(self, merged: MergedLog, log: RankLog) -> None:
        self._merged: Final = merged
        self._prefix: Final = prefix_of(log.rank)
        self._log: Final = log
        self._rest = b""
        self._following = 0

    @property
    def following(self) -> int:
        """The offset of what comes next; 0: nothing has come, so that it is not known."""
        return self._following

    @property
    def has_room(self) -> bool:
        """True if the ring of all has."""
        return self._merged.has_room

    def put(self, piece: LogChunk) -> None:
        """Take what follows: whole lines, or a part of one."""
        self._rest += str(json.loads(piece.text)).encode()
        self._following = piece.following
        if self._rest.endswith(b"\n"):
            self._pass_on(self._rest)
        elif len(self._rest) > _MAX_LINE:
            self._pass_on(self._rest + b"\n")

    def skip(self, _: int, end: int) -> None:
        """Go on at an offset, and say that what is before it is not there to be sent."""
        self.close()
        self._following = end
        self._merged.skip()

    def close(self) -> None:
        """Add the last line, which is not complete."""
        if self._rest:
            self._pass_on(self._rest + b"\n")

    def _pass_on(self, lines: bytes) -> None:
        self._rest = b""
        marked = b"".join(self._prefix + line + b"\n" for line in lines[:-1].split(b"\n"))
        self._merged.put(marked, str(RankPosition.in_log(self._log, self._following)))
