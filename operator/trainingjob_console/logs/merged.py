"""The live logs of several ranks as one: whole lines, each with its rank, as they come."""

import json
from typing import Final

from trainingjob_api.log_sections import prefix_of
from trainingjob_console.logs.pieces import pieces_of
from trainingjob_console.sockets.log_ring import LogRing, Piece

_MAX_LINE: Final = 16_384


class Merged:
    """Puts the lines of all ranks into one ring. Places count the bytes that were put there."""

    def __init__(self, ring: LogRing) -> None:
        self._ring: Final = ring
        self._position = 0

    def of_rank(self, rank: int) -> "RankLines":
        """Return a reader for the log of one rank."""
        return RankLines(self, prefix_of(rank))

    @property
    def has_room(self) -> bool:
        """True if the ring has."""
        return self._ring.has_room

    def put(self, lines: bytes) -> None:
        """Add whole lines."""
        for piece in pieces_of(self._position, lines):
            self._ring.put(piece)
        self._position += len(lines)


class RankLines:
    """Makes whole lines of the pieces of one log; one that is longer than 16 KiB is broken."""

    def __init__(self, merged: Merged, prefix: bytes) -> None:
        self._merged: Final = merged
        self._prefix: Final = prefix
        self._rest = b""

    @property
    def has_room(self) -> bool:
        """True if the ring of all has."""
        return self._merged.has_room

    def put(self, piece: Piece) -> None:
        """Take what follows."""
        data = self._rest + str(json.loads(piece.text)).encode()
        lines, newline, self._rest = data.rpartition(b"\n")
        found = lines + newline
        if len(self._rest) > _MAX_LINE:
            found, self._rest = found + self._rest + b"\n", b""
        if found:
            self._merged.put(
                b"".join(self._prefix + line + b"\n" for line in found[:-1].split(b"\n"))
            )

    def close(self) -> None:
        """Add the last line, which is not complete."""
        if self._rest:
            self._merged.put(self._prefix + self._rest + b"\n")
            self._rest = b""
