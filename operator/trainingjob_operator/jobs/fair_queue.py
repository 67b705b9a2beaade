"""A bounded queue of jobs that wait for a place in the index or for pods, fair between namespaces.

The next job is the oldest one of the namespace that uses least at the moment (jobs in the index, or
pods). A namespace with twenty thousand jobs thus delays only its own.

Bound: `limit` jobs, some 300 bytes each. At the limit the youngest job of the namespace with the
longest queue is removed; the next resync offers it again.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final, NamedTuple

from trainingjob_api.constants import CONDITION_SUSPENDED
from trainingjob_operator.core.job import JobKey, JobView

LIMIT: Final = 20_000


class _Item(NamedTuple):
    """A waiting job. Sorts by age, then by name, as the jobs of a namespace are admitted."""

    created_at: datetime
    key: JobKey
    uid: str


class FairQueue:
    """Orders jobs by the current use of their namespace, then by age."""

    def __init__(
        self, limit: int = LIMIT, *, live_in: Callable[[str], int] = lambda namespace: 0
    ) -> None:
        """Create an empty queue.

        Args:
            limit: the most jobs that wait.
            live_in: returns the current use of a namespace: its live jobs in the index, or its pods.
        """
        self.limit: Final = limit
        self._live_in: Final = live_in
        self._items: Final[dict[JobKey, _Item]] = {}
        self._queues: Final[dict[str, list[_Item]]] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: JobKey) -> bool:
        return key in self._items

    @property
    def first(self) -> JobKey | None:
        """The key of the next job; None: none waits.

        Takes time in proportion to the number of namespaces with waiting jobs.
        """
        heads = (queue[0] for queue in self._queues.values())
        first = min(heads, key=self._turn, default=None)
        return first.key if first is not None else None

    def has_job_before(self, job: JobView) -> bool:
        """True if another waiting job comes before this one."""
        mine = _item(job)
        turn = self._turn(mine)
        return any(self._turn(head) < turn for head in self._heads_without(job.key))

    def add(self, job: JobView) -> None:
        """Add a job; it replaces a queued job of the same key."""
        self.remove(job.key)
        item = self._items[job.key] = _item(job)
        insort(self._queues.setdefault(job.key.namespace, []), item)
        if len(self._items) > self.limit:
            longest = max(self._queues.values(), key=lambda queue: (len(queue), queue[-1]))
            self.remove(longest[-1].key)

    def remove(self, key: JobKey, uid: str | None = None) -> bool:
        """Remove a job; with a uid, only if the uid matches.

        Returns:
            Whether it was waiting.
        """
        item = self._items.get(key)
        if item is None or uid not in {None, item.uid}:
            return False
        del self._items[key]
        queue = self._queues[key.namespace]
        del queue[bisect_left(queue, item)]
        if not queue:
            del self._queues[key.namespace]
        return True

    def _heads_without(self, key: JobKey) -> list[_Item]:
        """Return the head of each namespace's queue, ignoring the job of this key."""
        heads = []
        for queue in self._queues.values():
            rest = queue[:2] if queue[0].key == key else queue[:1]
            heads += [item for item in rest if item.key != key]
        return heads

    def _turn(self, item: _Item) -> tuple[int, _Item]:
        return self._live_in(item.key.namespace), item


def _item(job: JobView) -> _Item:
    return _Item(job.created_at, job.key, job.uid)


def in_fair_order(jobs: Iterable[JobView]) -> list[JobView]:
    """Return the jobs in the order in which the index should admit them.

    Jobs that have started come first: their pods must be followed, and they were in the index
    before the operator restarted. Then follow the oldest job of each namespace, the second oldest
    of each, and so on; resumed jobs are among these. Finished jobs come last.
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
    """True if the job has or just had pods, according to its status."""
    status = job.status
    is_parked = status.launched_attempt is None or status.is_true(CONDITION_SUSPENDED)
    return not is_parked or status.active + status.terminating > 0
