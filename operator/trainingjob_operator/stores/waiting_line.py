"""Jobs for which the index has no room, in the order of their creation.

Bound: `limit` jobs, some 300 bytes each. At the limit the youngest goes: it is as if it had not
come yet, and the next resync offers it again.
"""

from bisect import bisect_left, insort
from datetime import datetime
from typing import Final, NamedTuple

from trainingjob_operator.core.job import JobKey, JobView

LIMIT: Final = 20_000


class _Place(NamedTuple):
    """Sorts as jobs are admitted: by age, then by name."""

    created_at: datetime
    key: JobKey
    uid: str


class WaitingLine:
    """First created, first served."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit: Final = limit
        self._places: Final[dict[JobKey, _Place]] = {}
        self._order: Final[list[_Place]] = []

    def __len__(self) -> int:
        return len(self._order)

    @property
    def first(self) -> JobKey | None:
        """Whose turn it is."""
        return self._order[0].key if self._order else None

    def has_before(self, job: JobView) -> bool:
        """Whether somebody waits who was there before this job."""
        before = bisect_left(self._order, _place(job))
        mine = self._places.get(job.key)
        return before > (mine is not None and mine < _place(job))

    def join(self, job: JobView) -> None:
        """Give the job its place; a namesake loses the one it had."""
        self.leave(job.key)
        self._places[job.key] = _place(job)
        insort(self._order, _place(job))
        if len(self._order) > self.limit:
            self.leave(self._order[-1].key)

    def leave(self, key: JobKey, uid: str | None = None) -> bool:
        """Take a job out; with a uid, only this very one.

        Returns:
            Whether it was waiting.
        """
        place = self._places.get(key)
        if place is None or uid not in {None, place.uid}:
            return False
        del self._places[key]
        del self._order[bisect_left(self._order, place)]
        return True


def _place(job: JobView) -> _Place:
    return _Place(job.created_at, job.key, job.uid)
