"""Enforces the quota of files of deleted jobs: archived logs go first, then results; the oldest first.

Off unless a quota is set. It counts only files that the sweep may remove: no files of existing
jobs, no kept or foreign files, none that changed within the hour, and none of other users of the
same file system. Only the excess of these files over their own quota is removed, however full the
file system is.
"""

import heapq
from collections.abc import Callable
from typing import Final

from trainingjob_operator.volume.layout import Entry
from trainingjob_operator.volume.sweep.rules import excess
from trainingjob_operator.volume.sweep.tree_age import Tree

MAX_CANDIDATES: Final = 10_000
"""Maximum number of entries that one sweep remembers; of further ones it counts only the bytes."""

_PAUSE_FACTOR: Final = 9
"""The pause after measuring all sizes, as a multiple of the time that it took. So measuring takes
at most a tenth of the time, however many files there are."""


class QuotaSchedule:
    """Stores across sweeps when the sizes are to be measured again."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Start with a measurement that is due at once.

        Args:
            monotonic: the clock, in seconds.
        """
        self._monotonic: Final = monotonic
        self._begun_s = 0.0
        self._next_at_s = float("-inf")

    def is_due(self) -> bool:
        """True if the sizes are to be measured."""
        return self._monotonic() >= self._next_at_s

    def begin(self) -> None:
        """Record the start of a measurement."""
        self._begun_s = self._monotonic()

    def end(self) -> None:
        """Start the pause after a complete measurement."""
        now = self._monotonic()
        self._next_at_s = now + _PAUSE_FACTOR * (now - self._begun_s)

    def reset(self) -> None:
        """Make a measurement due at once: the volume is another one."""
        self._next_at_s = float("-inf")


class Candidates:
    """A bounded heap of the entries that may be removed before they expire, and their total bytes.

    Archived logs and data sets are removed before results, and among each the oldest first.

    Bound: `limit` entries. Beyond it those that would be removed last are dropped, and only their
    bytes are counted.
    """

    def __init__(self, limit: int = MAX_CANDIDATES) -> None:
        """Begin with none.

        Args:
            limit: maximum number of entries in the heap.
        """
        self._limit: Final = limit
        self._heap: list[tuple[bool, int, int, Entry, Tree]] = []
        self._count = 0
        self.bytes = 0
        """Total bytes that removing all of them would free."""

    def add(self, entry: Entry, tree: Tree) -> None:
        """Add an entry that may be removed."""
        self.bytes += tree.bytes
        self._count += 1
        if 2 * tree.linked > tree.files:
            return  # most of its files have other hard links: removing it frees little
        # The root of the heap is the entry that would be removed last.
        item = (not entry.is_result, -tree.newest_ns, self._count, entry, tree)
        if len(self._heap) < self._limit:
            heapq.heappush(self._heap, item)
        else:
            heapq.heappushpop(self._heap, item)

    def victims(self, quota: int) -> list[tuple[Entry, Tree]]:
        """Return the entries to remove, in order; none if the total is within the quota.

        If one of them cannot be removed, no other is removed in its place.

        Args:
            quota: maximum bytes.
        """
        left = excess(self.bytes, quota)
        chosen: list[tuple[Entry, Tree]] = []
        for *_, entry, tree in sorted(self._heap, reverse=True):
            if left <= 0:
                break
            chosen.append((entry, tree))
            left -= tree.bytes
        return chosen
