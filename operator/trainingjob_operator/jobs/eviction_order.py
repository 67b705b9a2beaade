"""Sorts the jobs that the index may evict by the time at which they finished or settled.

Bound: the index's; a key is here only while its job is in the index.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from datetime import datetime
from itertools import count
from typing import Final, NamedTuple

from trainingjob_operator.core.job import JobKey


class _Item(NamedTuple):
    """Sorts by the time at which a job finished or settled, and for equal times by arrival."""

    at: datetime
    number: int
    key: JobKey


class EvictionOrder:
    """Evictable jobs by the time at which they finished or settled; the first is evicted first."""

    def __init__(self) -> None:
        self._order: Final[list[_Item]] = []
        self._items: Final[dict[JobKey, _Item]] = {}
        self._numbers: Final = count()

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, key: JobKey) -> bool:
        return key in self._items

    @property
    def first(self) -> JobKey:
        """The job that finished or settled first.

        Raises:
            IndexError: the order is empty.
        """
        return self._order[0].key

    def add(self, key: JobKey, at: datetime) -> None:
        """Add a job that finished or settled then; a key that is here already keeps its time."""
        if key not in self._items:
            item = self._items[key] = _Item(at, next(self._numbers), key)
            insort(self._order, item)

    def discard(self, key: JobKey) -> bool:
        """Remove a job that was deleted, or is live again; True if it was here."""
        item = self._items.pop(key, None)
        if item is not None:
            del self._order[bisect_left(self._order, item)]
        return item is not None

    def before(self, when: datetime) -> Sequence[JobKey]:
        """Return the jobs that finished or settled before a time, the oldest first."""
        end = bisect_left(self._order, when, key=lambda item: item.at)
        return [item.key for item in self._order[:end]]
