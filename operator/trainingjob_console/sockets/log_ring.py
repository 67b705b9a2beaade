"""The pieces of a log that wait for one subscription, and the gap where the oldest fell out."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from trainingjob_console.sockets.budget import Budget

_PIECE: Final = 120
"""Bytes that a piece takes beside its text."""


@dataclass(frozen=True, slots=True)
class LogChunk:
    """A piece of a log, shared by all that read it.

    Attributes:
        offset: in the log, of its first byte.
        following: the offset of what follows it.
        lines: that end in it.
        text: as JSON.
        place: of merged logs: the place in the log of the rank, up to which it goes.
    """

    offset: int
    following: int
    lines: int
    text: str
    place: str = ""

    @property
    def weight(self) -> int:
        """Bytes that it takes in a queue."""
        return _PIECE + len(self.text) + len(self.place)


@dataclass(frozen=True, slots=True)
class Gap:
    """A part of the log that the reader was too slow for, and that it is not sent.

    Attributes:
        start: offset of its first byte.
        end: the offset of what follows it.
        lines: that end in it.
    """

    start: int
    end: int
    lines: int


LOST_BY: Final = ("slow", "memory", "behind")
"""Why a log was not sent whole: the page reads too slowly, all queues together were too large, or the page
came back to a place from which it could not catch up."""


@dataclass(frozen=True, slots=True)
class Losses:
    """The lines and gaps of logs that pages were not sent, by `LOST_BY`.

    Attributes:
        gaps: that pages were told of.
        lines: that were dropped; those of which nobody knows how many there were are not counted.
    """

    gaps: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)


class LogRing:
    """At most so many bytes and lines; above, the oldest pieces fall out.

    What fell out is one gap, which comes out before all that follows it: a reader that is behind
    learns it first of all. One piece always stays, however large: `put` takes small ones.
    """

    def __init__(
        self,
        max_bytes: int,
        max_lines: int,
        budget: Budget,
        on_ready: Callable[[], None] = lambda: None,
        losses: Losses | None = None,
    ) -> None:
        """Begin empty.

        Args:
            max_bytes: that wait at most.
            max_lines: likewise.
            budget: counts the bytes.
            on_ready: called when there is something to be sent.
            losses: counts what is dropped; those of all rings, as a rule.
        """
        self._max_bytes: Final = max_bytes
        self._max_lines: Final = max_lines
        self._budget: Final = budget
        self._on_ready: Final = on_ready
        self._pieces: Final[deque[LogChunk]] = deque()
        self._lines = 0
        self._gap: Gap | None = None
        self._closed = False
        self._losses: Final = losses or Losses()
        self.size = 0
        budget.add(self)

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def has_room(self) -> bool:
        """True if less than half of it is used: what waits for that loses nothing."""
        return 2 * self.size < self._max_bytes and 2 * self._lines < self._max_lines

    @property
    def is_empty(self) -> bool:
        """True if nothing waits."""
        return not self._pieces and self._gap is None

    def put(self, piece: LogChunk) -> None:
        """Add what follows. After the end it is dropped: a follower may come a moment too late."""
        if self._closed:
            return
        self._pieces.append(piece)
        self._lines += piece.lines
        difference = piece.weight
        while len(self._pieces) > 1 and (
            self.size + difference > self._max_bytes or self._lines > self._max_lines
        ):
            difference -= self._drop("slow").weight
        self._change(difference)
        self._on_ready()

    def take(self) -> Gap | LogChunk | None:
        """Return what comes next: a gap first of all. None: nothing waits."""
        if self._gap is not None:
            gap, self._gap = self._gap, None
            return gap
        if not self._pieces:
            return None
        piece = self._pieces.popleft()
        self._lines -= piece.lines
        self._change(-piece.weight)
        return piece

    def skip(self, start: int, end: int) -> None:
        """Say that a part is not there to be sent; it follows all that waits.

        What waits goes into the gap: there is one at most, at the head.
        """
        if self._closed:
            return
        self._drop_all("behind")
        self._widen(Gap(start, end, 0), "behind")
        self._on_ready()

    def cut(self) -> None:
        """Drop all that waits, and leave a gap."""
        self._drop_all("memory")

    def close(self) -> None:
        """Forget all, and take no more."""
        self._closed = True
        self._budget.remove(self)
        self._pieces.clear()
        self.size = self._lines = 0
        self._gap = None

    def _drop_all(self, reason: str) -> None:
        difference = 0
        while self._pieces:
            difference -= self._drop(reason).weight
        self._change(difference)

    def _drop(self, reason: str) -> LogChunk:
        piece = self._pieces.popleft()
        self._lines -= piece.lines
        self._losses.lines[reason] += piece.lines
        self._widen(Gap(piece.offset, piece.following, piece.lines), reason)
        return piece

    def _widen(self, lost: Gap, reason: str) -> None:
        if self._gap is None:
            self._losses.gaps[reason] += 1
            self._gap = lost
        else:
            self._gap = Gap(self._gap.start, lost.end, self._gap.lines + lost.lines)

    def _change(self, difference: int) -> None:
        self.size += difference
        self._budget.charge(difference)
