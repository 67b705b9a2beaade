"""The jobs of the index that can leave it, in the order in which they finished or settled.

Bound: the index's; a key is here only while it is there.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from datetime import datetime
from itertools import count
from typing import Final, NamedTuple

from trainingjob_operator.core.job import JobKey


class _Place(NamedTuple):
    """Sorts by the time at which a job finished or settled; within a second, by who came first."""

    at: datetime
    number: int
    key: JobKey


class FinishOrder:
    """The jobs by the time at which they finished or settled; the first goes first."""

    def __init__(self) -> None:
        self._order: Final[list[_Place]] = []
        self._places: Final[dict[JobKey, _Place]] = {}
        self._numbers: Final = count()

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, key: JobKey) -> bool:
        return key in self._places

    @property
    def first(self) -> JobKey:
        """The job that finished or settled first.

        Raises:
            IndexError: there is none.
        """
        return self._order[0].key

    def add(self, key: JobKey, at: datetime) -> None:
        """Add a job that finished or settled then; one that is here already keeps its place."""
        if key not in self._places:
            place = self._places[key] = _Place(at, next(self._numbers), key)
            insort(self._order, place)

    def discard(self, key: JobKey) -> bool:
        """Remove a job that is gone, or lives again; True if it was here."""
        place = self._places.pop(key, None)
        if place is not None:
            del self._order[bisect_left(self._order, place)]
        return place is not None

    def before(self, when: datetime) -> Sequence[JobKey]:
        """Return the jobs that finished or settled before then, the first ones first."""
        end = bisect_left(self._order, when, key=lambda place: place.at)
        return [place.key for place in self._order[:end]]
