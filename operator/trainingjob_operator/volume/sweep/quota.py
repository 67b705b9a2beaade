"""The quota of files that no job owns: above it, the first of them go before their time.

Off unless a quota is set. It counts only what the sweep may remove: no file of a job that exists,
nothing that is kept, foreign or changed within the hour, and nothing of anybody else on the same
file system. However full that is, nothing goes but what these files exceed their own quota by.
"""

import heapq
from collections.abc import Callable
from typing import Final

from trainingjob_operator.volume.layout import Entry
from trainingjob_operator.volume.sweep.rules import excess
from trainingjob_operator.volume.sweep.tree_age import Tree

MAX_CANDIDATES: Final = 10_000
"""Entries that one sweep may give up; of further ones only the bytes are known."""

_REST: Final = 9
"""A look at all sizes is followed by a rest of so many times what it took: it takes a tenth of the
time at most, however many files there are."""


class QuotaSchedule:
    """Remembers from one sweep to the next when the sizes are looked at again."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Look at once.

        Args:
            monotonic: the clock, in seconds.
        """
        self._monotonic: Final = monotonic
        self._begun_s = 0.0
        self._next_at_s = float("-inf")

    def is_due(self) -> bool:
        """True if the sizes are to be looked at."""
        return self._monotonic() >= self._next_at_s

    def begin(self) -> None:
        """Note when a look begins."""
        self._begun_s = self._monotonic()

    def rest(self) -> None:
        """Rest after a look that came to its end."""
        now = self._monotonic()
        self._next_at_s = now + _REST * (now - self._begun_s)

    def reset(self) -> None:
        """Look at once: it is another volume."""
        self._next_at_s = float("-inf")


class Candidates:
    """The entries that may go before their time: their bytes, and the first ones in order.

    Archived logs and data sets go before results, and of each the oldest first.

    Bound: `limit` entries. Beyond it those that would go last are forgotten, but for their bytes.
    """

    def __init__(self, limit: int = MAX_CANDIDATES) -> None:
        """Begin with none.

        Args:
            limit: entries that are remembered at most.
        """
        self._limit: Final = limit
        self._heap: list[tuple[bool, int, int, Entry, Tree]] = []
        self._count = 0
        self.bytes = 0
        """Bytes of all of them, as far as removing them frees any."""

    def add(self, entry: Entry, tree: Tree) -> None:
        """Count an entry that may go."""
        self.bytes += tree.bytes
        self._count += 1
        if 2 * tree.linked > tree.files:
            return  # other names keep what is in it
        # The root of the heap is what would go last.
        item = (not entry.is_result, -tree.newest_ns, self._count, entry, tree)
        if len(self._heap) < self._limit:
            heapq.heappush(self._heap, item)
        else:
            heapq.heappushpop(self._heap, item)

    def to_go(self, quota: int) -> list[tuple[Entry, Tree]]:
        """Return those that go, the first one first; none up to the quota.

        They are as many as it takes. What cannot be removed is not made up for by others.

        Args:
            quota: bytes.
        """
        left = excess(self.bytes, quota)
        chosen: list[tuple[Entry, Tree]] = []
        for *_, entry, tree in sorted(self._heap, reverse=True):
            if left <= 0:
                break
            chosen.append((entry, tree))
            left -= tree.bytes
        return chosen
