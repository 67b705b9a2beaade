"""Limits the number of pods of all jobs together, and queues the starts that would exceed it.

The limit holds back only the start of an attempt; existing pods are always followed. A job keeps
its reservation until it finishes, is suspended or stopped, or the API server refuses its pods. A
restarted job therefore does not queue again.

No job overtakes the head of the queue, however few pods it needs; otherwise a large job would wait
for ever behind small ones. The head is the oldest job of the namespace with the fewest pods. A job
that `limit` started ranks have overtaken moves to the front.

A job whose pods were all refused has used none of its reservation. Until `limit` further ranks
have started, it does not queue: it starts only when pods happen to be free, and no other job waits
for it. Otherwise a job that its quota never admits would block the others again and again.

Bound: a queued job takes some 500 bytes, and only jobs of the index wait. Only new starts observe
`limit`; pods that existed before (a lower limit, a restart of the operator) can exceed it.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from trainingjob_operator.core.attempt import should_run
from trainingjob_operator.core.bounded import Bound
from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.jobs.fair_queue import FairQueue
from trainingjob_operator.jobs.job_entry import JobEntry

TURN_S: Final = 30.0
"""Seconds within which the job at the head must start; then the next one is called, and it queues
again."""


class _Request(NamedTuple):
    """The request of a waiting job.

    Attributes:
        ranks: pods to reserve.
        started_before: ranks of all jobs that had been granted when it was queued.
        called_at: monotonic time at which its turn came; None: it has not come yet.
    """

    ranks: int
    started_before: int
    called_at: float | None = None


class PodLimit:
    """Reserves pods for jobs, in the order of a fair queue.

    Attributes:
        limit: pods of all jobs up to which a new start is granted. A job that needs more than that
            by itself starts when no other job has pods.
        used: pods of all jobs, those to be created included.
        waiting: the jobs that wait to start.
    """

    def __init__(
        self,
        limit: int,
        *,
        max_waiting: int,
        monotonic: Callable[[], float],
        on_turn: Callable[[JobKey], None],
    ) -> None:
        """Create the limit without reservations.

        Args:
            limit: see above.
            max_waiting: the most jobs that can wait.
            monotonic: the time in seconds.
            on_turn: called with the key of the job whose turn it is; it must call `reserve` again.
        """
        self.limit: Final = limit
        self.used = 0
        self._of_namespace: Final[Counter[str]] = Counter()
        self.waiting: Final = FairQueue(max_waiting, live_in=self._of_namespace.__getitem__)
        self._requests: Final[dict[JobKey, _Request]] = {}  # in the order of their arrival
        self._granted_total = 0
        self._monotonic: Final = monotonic
        self._on_turn: Final = on_turn

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit, also of the queue of waiting jobs."""
        return (
            Bound("pods", self.used, self.limit),
            Bound("start_line", len(self.waiting), self.waiting.limit),
        )

    def reserve(self, entry: JobEntry) -> bool:
        """Reserve the pods of all ranks of a job. False: the job is queued."""
        if entry.has_reservation:
            return True
        key, ranks = (
            entry.job.key,
            entry.job.spec.num_nodes + entry.held_by_finalizers - entry.reserved_pods,
        )
        self._drop_unused_turn()
        if not self._fits(ranks, besides=entry.reserved_pods) or self._must_wait_for_another(
            entry.job
        ):
            if not self._has_returned(entry):
                self._enqueue(entry.job, ranks)
                self._call_next()
            return False
        entry.unused_grant = max(ranks, 0)
        self._granted_total += entry.unused_grant
        entry.has_reservation = True
        self.recount(entry)
        self._dequeue(key)
        return True

    def restore(self, entry: JobEntry) -> None:
        """Restore the reservation of a job that has begun an attempt, if the limit allows it.

        Its status and pods show that it had one before the operator restarted. Pods can be forged
        and a status edited, so no job gets more than is free, or overtakes those that wait.
        """
        ranks = entry.job.spec.num_nodes + entry.held_by_finalizers - entry.reserved_pods
        if not (entry.has_reservation or self._requests) and self._fits(
            ranks, besides=entry.reserved_pods
        ):
            entry.has_reservation = True
        self.recount(entry)

    def release_unused(self, entry: JobEntry) -> None:
        """Release the pods that are reserved and do not exist: the API server has refused them."""
        self._granted_total -= entry.unused_grant
        entry.unused_grant = 0
        if not entry.pods:
            entry.returned_at = self._granted_total
        entry.has_reservation = False
        self.recount(entry)

    def _has_returned(self, entry: JobEntry) -> bool:
        """True if a job released its whole reservation, and few ranks have started since."""
        at = entry.returned_at
        if at is not None and not entry.pods and self._granted_total - at < self.limit:
            return True
        entry.returned_at = None
        return False

    def recount(self, entry: JobEntry) -> None:
        """Count a job's pods again. One that is not to run loses its reservation and its request."""
        if not should_run(entry.job):
            entry.has_reservation = False
            self._dequeue(entry.job.key)
        entry.unused_grant = min(
            entry.unused_grant, max(entry.job.spec.num_nodes - len(entry.pods), 0)
        )
        wanted = (
            entry.job.spec.num_nodes + entry.held_by_finalizers if entry.has_reservation else 0
        )
        self._set(entry, max(len(entry.pods), wanted))

    def forget(self, entry: JobEntry) -> None:
        """Remove a job and its pods from the count."""
        self._dequeue(entry.job.key)
        self._set(entry, 0)

    def _set(self, entry: JobEntry, pods: int) -> None:
        change, namespace = pods - entry.reserved_pods, entry.job.key.namespace
        entry.reserved_pods = pods
        self.used += change
        self._of_namespace[namespace] += change
        if not self._of_namespace[namespace]:
            del self._of_namespace[namespace]
        if change < 0:
            self._call_next()

    def _fits(self, ranks: int, *, besides: int = 0) -> bool:
        return self.used + ranks <= self.limit or self.used == besides

    def _must_wait_for_another(self, job: JobView) -> bool:
        passed = self._passed_too_often
        return passed != job.key if passed is not None else self.waiting.has_job_before(job)

    @property
    def _passed_too_often(self) -> JobKey | None:
        """The job that has waited longest, if `limit` ranks have started since it was queued."""
        for key, wish in self._requests.items():
            return key if self._granted_total - wish.started_before >= self.limit else None
        return None

    def _enqueue(self, job: JobView, ranks: int) -> None:
        before = self._requests.get(job.key)
        started = before.started_before if before is not None else self._granted_total
        self._requests[job.key] = _Request(ranks, started)
        self.waiting.add(job)

    def _dequeue(self, key: JobKey) -> None:
        if self._requests.pop(key, None) is not None:
            self.waiting.remove(key)
            self._call_next()

    def _call_next(self) -> None:
        """Call the head of the queue once, as soon as its pods fit into the limit."""
        first = self._passed_too_often or self.waiting.first
        if first is None:
            return
        wish = self._requests[first]
        if wish.called_at is None and self._fits(wish.ranks):
            self._requests[first] = wish._replace(called_at=self._monotonic())
            self._on_turn(first)

    def _drop_unused_turn(self) -> None:
        """Remove the head of the queue if it was called and has not started: something else stops it."""
        first = self._passed_too_often or self.waiting.first
        called_at = self._requests[first].called_at if first is not None else None
        if first is not None and called_at is not None and self._monotonic() - called_at > TURN_S:
            self._dequeue(first)
