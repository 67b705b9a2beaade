"""A bounded queue of log chunks for one subscription; the oldest are dropped and reported as a gap."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from trainingjob_console.sockets.budget import Budget

_CHUNK_OVERHEAD: Final = 120
"""Bytes of memory that a chunk takes in addition to its text."""


@dataclass(frozen=True, slots=True)
class LogChunk:
    """A chunk of a log, shared by all readers of the log.

    Attributes:
        offset: of its first byte in the log.
        next_offset: offset of the byte after it.
        lines: number of lines that end in it.
        text: as JSON.
        place: for the merged log, the position in the rank's log that it ends at.
    """

    offset: int
    next_offset: int
    lines: int
    text: str
    place: str = ""

    @property
    def weight(self) -> int:
        """Bytes that it takes in a queue."""
        return _CHUNK_OVERHEAD + len(self.text) + len(self.place)


@dataclass(frozen=True, slots=True)
class Gap:
    """A part of the log that is not sent to the reader, for one of `LOSS_REASONS`.

    Attributes:
        start: offset of its first byte.
        end: offset of the byte after it.
        lines: number of lines that end in it.
    """

    start: int
    end: int
    lines: int


LOSS_REASONS: Final = ("slow", "memory", "behind")
"""Reasons for gaps: the page reads too slowly, all queues together were too large, or the page resumed at a position
that is no longer available."""


@dataclass(frozen=True, slots=True)
class Losses:
    """Counts of gaps and dropped lines of logs, by `LOSS_REASONS`.

    Attributes:
        gaps: reported to pages.
        lines: dropped lines; gaps with an unknown number of lines are not included.
    """

    gaps: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)


class LogRing:
    """A ring buffer of at most `max_bytes` and `max_lines`; above that, the oldest chunks are dropped.

    Dropped chunks form a single gap, which is returned before all remaining chunks. The newest chunk is never dropped:
    chunks are small.
    """

    def __init__(
        self,
        max_bytes: int,
        max_lines: int,
        budget: Budget,
        on_ready: Callable[[], None] = lambda: None,
        losses: Losses | None = None,
    ) -> None:
        """Initialize an empty ring.

        Args:
            max_bytes: maximum queued bytes.
            max_lines: maximum number of queued lines.
            budget: limits the bytes of all queues.
            on_ready: called when there is something to send.
            losses: counts dropped lines and gaps, usually of all rings.
        """
        self._max_bytes: Final = max_bytes
        self._max_lines: Final = max_lines
        self._budget: Final = budget
        self._on_ready: Final = on_ready
        self._chunks: Final[deque[LogChunk]] = deque()
        self._lines = 0
        self._gap: Gap | None = None
        self._closed = False
        self._losses: Final = losses or Losses()
        self.size = 0
        budget.add(self)

    def __len__(self) -> int:
        return len(self._chunks)

    @property
    def has_room(self) -> bool:
        """True if less than half of it is used: a writer that waits for this loses nothing."""
        return 2 * self.size < self._max_bytes and 2 * self._lines < self._max_lines

    @property
    def is_empty(self) -> bool:
        """True if neither chunks nor a gap are queued."""
        return not self._chunks and self._gap is None

    def put(self, chunk: LogChunk) -> None:
        """Add the next chunk. Ignored after `close`: a follower may add one a moment too late."""
        if self._closed:
            return
        self._chunks.append(chunk)
        self._lines += chunk.lines
        difference = chunk.weight
        while len(self._chunks) > 1 and (
            self.size + difference > self._max_bytes or self._lines > self._max_lines
        ):
            difference -= self._drop("slow").weight
        self._change(difference)
        self._on_ready()

    def take(self) -> Gap | LogChunk | None:
        """Remove and return the gap, else the oldest chunk; None: the ring is empty."""
        if self._gap is not None:
            gap, self._gap = self._gap, None
            return gap
        if not self._chunks:
            return None
        chunk = self._chunks.popleft()
        self._lines -= chunk.lines
        self._change(-chunk.weight)
        return chunk

    def skip(self, start: int, end: int) -> None:
        """Report a part of the log, after all queued chunks, as not available.

        The queued chunks become part of the gap, as there is only one gap, at the head.
        """
        if self._closed:
            return
        self._drop_all("behind")
        self._widen(Gap(start, end, 0), "behind")
        self._on_ready()

    def cut(self) -> None:
        """Drop all queued chunks, and leave a gap."""
        self._drop_all("memory")

    def close(self) -> None:
        """Drop everything, and ignore further chunks."""
        self._closed = True
        self._budget.remove(self)
        self._chunks.clear()
        self.size = self._lines = 0
        self._gap = None

    def _drop_all(self, reason: str) -> None:
        difference = 0
        while self._chunks:
            difference -= self._drop(reason).weight
        self._change(difference)

    def _drop(self, reason: str) -> LogChunk:
        chunk = self._chunks.popleft()
        self._lines -= chunk.lines
        self._losses.lines[reason] += chunk.lines
        self._widen(Gap(chunk.offset, chunk.next_offset, chunk.lines), reason)
        return chunk

    def _widen(self, lost: Gap, reason: str) -> None:
        if self._gap is None:
            self._losses.gaps[reason] += 1
            self._gap = lost
        else:
            self._gap = Gap(self._gap.start, lost.end, self._gap.lines + lost.lines)

    def _change(self, difference: int) -> None:
        self.size += difference
        self._budget.charge(difference)
