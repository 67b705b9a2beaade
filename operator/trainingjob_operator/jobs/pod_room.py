"""The number of pods that all jobs have, or are about to have, and the job that starts next.

A pod that is there is always followed. What waits is the start of an attempt whose ranks would be
more pods than there is room for. A job that has room keeps it until it ends, is suspended or to
stop, or the API server refuses its pods: a restart does not go to the end of the line.

No job passes the first in the line, however little room it needs: else a large job would wait for
ever behind small ones. First is the oldest job of the namespace that has the fewest pods; but a job
past which `limit` ranks have started moves to the front.

A job whose pods were all refused has used none of its room. Until `limit` further ranks have started, it
starts only when there happens to be room, and no other job waits for it: else a job that its quota never
admits would hold up the others again and again.

Bound: a place in the line is some 500 bytes, and only jobs of the index wait. `limit` is what
new starts keep to; with pods that were there before (a lower limit, a restart) there can be more.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from trainingjob_operator.core.attempt import is_to_run
from trainingjob_operator.core.bounded import Bound
from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.jobs.job_entry import JobEntry
from trainingjob_operator.jobs.waiting_line import WaitingLine

ANSWER_S: Final = 30.0
"""A job whose turn it is has so long to start; then the next one is asked, and it waits anew."""


class _Wish(NamedTuple):
    """The request of a job that waits.

    Attributes:
        ranks: pods that it needs room for.
        started_before: ranks of all jobs that had been given room when it came into the line.
        called_at: since when it is its turn, monotonic; None: it is not.
    """

    ranks: int
    started_before: int
    called_at: float | None = None


class PodRoom:
    """Room for pods; the first in the line starts first.

    Attributes:
        limit: pods that new starts may bring the sum to. A job that needs more by itself starts
            when no other has any.
        used: pods of all jobs, counted with those that are to be created.
        waiting: the jobs that wait to start.
    """

    def __init__(
        self,
        limit: int,
        *,
        places: int,
        monotonic: Callable[[], float],
        on_turn: Callable[[JobKey], None],
    ) -> None:
        """Make room.

        Args:
            limit: see above.
            places: the most jobs that can wait.
            monotonic: the time in seconds.
            on_turn: called with the key of the job whose turn it is: it is to ask again.
        """
        self.limit: Final = limit
        self.used = 0
        self._of_namespace: Final[Counter[str]] = Counter()
        self.waiting: Final = WaitingLine(places, live_in=self._of_namespace.__getitem__)
        self._wishes: Final[dict[JobKey, _Wish]] = {}  # in the order in which they came
        self._started = 0
        self._monotonic: Final = monotonic
        self._on_turn: Final = on_turn

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit, of its line of waiting jobs, too."""
        return (
            Bound("pods", self.used, self.limit),
            Bound("start_line", len(self.waiting), self.waiting.limit),
        )

    def ask(self, entry: JobEntry) -> bool:
        """Ask for room for all ranks of a job. False: it waits in the line."""
        if entry.has_room:
            return True
        key, ranks = entry.job.key, entry.job.spec.num_nodes + entry.kept - entry.room
        self._drop_who_does_not_answer()
        if not self._fits(ranks, besides=entry.room) or self._is_after_another(entry.job):
            if not self._has_returned(entry):
                self._join(entry.job, ranks)
                self._call_next()
            return False
        entry.granted = max(ranks, 0)
        self._started += entry.granted
        entry.has_room = True
        self.count(entry)
        self._leave(key)
        return True

    def keep(self, entry: JobEntry) -> None:
        """Keep room for all ranks of a job that has begun an attempt, if there is room for that.

        So it was before a restart, of which status and pods say so. Pods can be forged, and a status
        be edited: no job gets more than there is, or passes those that wait.
        """
        ranks = entry.job.spec.num_nodes + entry.kept - entry.room
        if not (entry.has_room or self._wishes) and self._fits(ranks, besides=entry.room):
            entry.has_room = True
        self.count(entry)

    def give_back(self, entry: JobEntry) -> None:
        """Give back what is not in use: the API server has refused the pods."""
        self._started -= entry.granted
        entry.granted = 0
        if not entry.pods:
            entry.returned_at = self._started
        entry.has_room = False
        self.count(entry)

    def _has_returned(self, entry: JobEntry) -> bool:
        """True if a job gave its room back unused, and few ranks have started since."""
        at = entry.returned_at
        if at is not None and not entry.pods and self._started - at < self.limit:
            return True
        entry.returned_at = None
        return False

    def count(self, entry: JobEntry) -> None:
        """Count what a job has by now. One that is not to run keeps nothing and does not wait."""
        if not is_to_run(entry.job):
            entry.has_room = False
            self._leave(entry.job.key)
        entry.granted = min(entry.granted, max(entry.job.spec.num_nodes - len(entry.pods), 0))
        wanted = entry.job.spec.num_nodes + entry.kept if entry.has_room else 0
        self._set(entry, max(len(entry.pods), wanted))

    def forget(self, entry: JobEntry) -> None:
        """Count a job no more, and its pods."""
        self._leave(entry.job.key)
        self._set(entry, 0)

    def _set(self, entry: JobEntry, room: int) -> None:
        change, namespace = room - entry.room, entry.job.key.namespace
        entry.room = room
        self.used += change
        self._of_namespace[namespace] += change
        if not self._of_namespace[namespace]:
            del self._of_namespace[namespace]
        if change < 0:
            self._call_next()

    def _fits(self, ranks: int, *, besides: int = 0) -> bool:
        return self.used + ranks <= self.limit or self.used == besides

    def _is_after_another(self, job: JobView) -> bool:
        passed = self._passed_too_often
        return passed != job.key if passed is not None else self.waiting.has_before(job)

    @property
    def _passed_too_often(self) -> JobKey | None:
        """The job that came into the line first, if as many ranks as there is room for have passed."""
        for key, wish in self._wishes.items():
            return key if self._started - wish.started_before >= self.limit else None
        return None

    def _join(self, job: JobView, ranks: int) -> None:
        before = self._wishes.get(job.key)
        started = before.started_before if before is not None else self._started
        self._wishes[job.key] = _Wish(ranks, started)
        self.waiting.join(job)

    def _leave(self, key: JobKey) -> None:
        if self._wishes.pop(key, None) is not None:
            self.waiting.leave(key)
            self._call_next()

    def _call_next(self) -> None:
        """Call the first in the line, if there is room for it now, once."""
        first = self._passed_too_often or self.waiting.first
        if first is None:
            return
        wish = self._wishes[first]
        if wish.called_at is None and self._fits(wish.ranks):
            self._wishes[first] = wish._replace(called_at=self._monotonic())
            self._on_turn(first)

    def _drop_who_does_not_answer(self) -> None:
        """Let no job hold up the line whose turn it is and which cannot start, for other reasons."""
        first = self._passed_too_often or self.waiting.first
        called_at = self._wishes[first].called_at if first is not None else None
        if (
            first is not None
            and called_at is not None
            and self._monotonic() - called_at > ANSWER_S
        ):
            self._leave(first)
