"""Jobs for which the index has no room, and which of them is next.

A place that becomes free goes to the namespace that has the fewest live jobs in the index, and
there to the job that was created first. So a namespace with twenty thousand jobs holds up its own.

Bound: `limit` jobs, some 300 bytes each. At the limit the youngest of the namespace that has the
most of them here goes: it is as if it had not come yet, and the next resync offers it again.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final, NamedTuple

from trainingjob_api.constants import CONDITION_SUSPENDED
from trainingjob_operator.core.job import JobKey, JobView

LIMIT: Final = 20_000


class _Place(NamedTuple):
    """Sorts as the jobs of a namespace are admitted: by age, then by name."""

    created_at: datetime
    key: JobKey
    uid: str


class WaitingLine:
    """The namespace with the fewest live jobs first; there, first created, first served."""

    def __init__(
        self, limit: int = LIMIT, *, live_in: Callable[[str], int] = lambda namespace: 0
    ) -> None:
        """Make an empty line.

        Args:
            limit: the most jobs that wait in it.
            live_in: how many live jobs of a namespace have a place in the index.
        """
        self.limit: Final = limit
        self._live_in: Final = live_in
        self._places: Final[dict[JobKey, _Place]] = {}
        self._lines: Final[dict[str, list[_Place]]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: JobKey) -> bool:
        return key in self._places

    @property
    def first(self) -> JobKey | None:
        """The key of the job that is next; None: none waits.

        Takes time in proportion to the namespaces of which jobs wait.
        """
        heads = (line[0] for line in self._lines.values())
        first = min(heads, key=self._turn, default=None)
        return first.key if first is not None else None

    def has_before(self, job: JobView) -> bool:
        """True if a place that is free now belongs to another job that waits."""
        mine = _place(job)
        turn = self._turn(mine)
        return any(self._turn(head) < turn for head in self._heads_without(job.key))

    def join(self, job: JobView) -> None:
        """Give the job its place; a namesake loses the one it had."""
        self.leave(job.key)
        place = self._places[job.key] = _place(job)
        insort(self._lines.setdefault(job.key.namespace, []), place)
        if len(self._places) > self.limit:
            longest = max(self._lines.values(), key=lambda line: (len(line), line[-1]))
            self.leave(longest[-1].key)

    def leave(self, key: JobKey, uid: str | None = None) -> bool:
        """Take a job out; with a uid, only this very one.

        Returns:
            Whether it was waiting.
        """
        place = self._places.get(key)
        if place is None or uid not in {None, place.uid}:
            return False
        del self._places[key]
        line = self._lines[key.namespace]
        del line[bisect_left(line, place)]
        if not line:
            del self._lines[key.namespace]
        return True

    def _heads_without(self, key: JobKey) -> list[_Place]:
        """Return the first of each namespace, as if the job of this key did not wait."""
        heads = []
        for line in self._lines.values():
            rest = line[:2] if line[0].key == key else line[:1]
            heads += [place for place in rest if place.key != key]
        return heads

    def _turn(self, place: _Place) -> tuple[int, _Place]:
        return self._live_in(place.key.namespace), place


def _place(job: JobView) -> _Place:
    return _Place(job.created_at, job.key, job.uid)


def in_fair_order(jobs: Iterable[JobView]) -> list[JobView]:
    """Return the jobs in the order in which they are to be taken in.

    Those that have started come first, because their pods have to be followed: they had
    places before a restart. Then each namespace's oldest, each one's second, and so on, among them
    suspended jobs that were resumed. Jobs that are over come last.
    """
    of_namespace: defaultdict[tuple[str, bool, bool], int] = defaultdict(int)
    turns: list[tuple[tuple[bool, bool, int], JobView]] = []
    for job in sorted(jobs, key=lambda each: (each.created_at, each.key)):
        is_over = job.status.is_finished
        is_new = not _has_started(job)
        number = of_namespace[job.key.namespace, is_over, is_new]
        of_namespace[job.key.namespace, is_over, is_new] += 1
        turns.append(((is_over, is_new, number), job))
    return [job for _, job in sorted(turns, key=lambda each: each[0])]


def _has_started(job: JobView) -> bool:
    """True if the job has pods, or had some a moment ago, as far as its status says."""
    status = job.status
    is_parked = status.launched_attempt is None or status.is_true(CONDITION_SUSPENDED)
    return not is_parked or status.active + status.terminating > 0
