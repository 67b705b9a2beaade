"""A queue of pods whose logs are to be archived, and the outcomes of archived ones.

Round-robin over jobs, with one pod of each at a time: a job's archive is one file with one writer.

Bounds: `max_waiting` pods, above which a pod is rejected (request it again later); and as many
outcomes, above which those of the oldest job are evicted (its pods are requested again, and their
logs are found in the archive).
"""

from collections import OrderedDict, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from trainingjob_operator.core.bounded import Bound
from trainingjob_operator.core.decision import LogOutcome
from trainingjob_operator.core.job import JobKey

_NOTHING: Final[Mapping[str, LogOutcome]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTask:
    """One pod's log, to be archived.

    Attributes:
        key, job_uid: the pod's job.
        pod, pod_uid: the pod.
        container: the main container; "": it has not begun, and has no log.
        beside: the other containers that failed.
        running: the main container had not ended at the time of the request.
        asked_at: time of the request, in monotonic seconds.
        give_up_at: monotonic time at which it is given up if its turn has not come.
        searched_ranks: ranks without a pod, for whose logs the archive is searched.
    """

    key: JobKey
    job_uid: str
    pod: str
    pod_uid: str
    container: str
    attempt: int
    rank: int
    running: bool
    asked_at: float
    give_up_at: float
    beside: tuple[str, ...] = ()
    searched_ranks: frozenset[int] = frozenset()

    @property
    def sections(self) -> tuple[tuple[str, str], ...]:
        """The containers to read, each with its name in the section header ("" for the main one)."""
        main = ((self.container, ""),) if self.container else ()
        return main + tuple((name, name) for name in self.beside)


class LogQueue:
    """Waiting pods by job, and outcomes by job and pod."""

    def __init__(self, max_waiting: int) -> None:
        """Create an empty queue.

        Args:
            max_waiting: the most waiting pods, and the most outcomes.
        """
        self.max_waiting: Final = max_waiting
        self._waiting: Final[OrderedDict[str, deque[LogTask]]] = OrderedDict()
        self._known: Final[set[str]] = set()  # pods that wait or are in progress
        self._busy: Final[set[str]] = set()  # jobs with a pod in progress
        self._outcomes: Final[OrderedDict[str, dict[str, LogOutcome]]] = OrderedDict()
        self._kept = 0
        self.refused_total = 0

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit."""
        return (
            Bound("log_queue", len(self), self.max_waiting),
            Bound("log_outcomes", self.outcomes_kept, self.max_waiting),
        )

    def __len__(self) -> int:
        """Pods that wait or are in progress."""
        return len(self._known)

    @property
    def outcomes_kept(self) -> int:
        """Number of outcomes in memory."""
        return self._kept

    def add(self, task: LogTask) -> bool:
        """Add a pod, once. False: the queue is full."""
        if task.pod_uid in self._known:
            return True
        if len(self._known) >= self.max_waiting:
            self.refused_total += 1
            return False
        self._known.add(task.pod_uid)
        self._waiting.setdefault(task.job_uid, deque()).append(task)
        return True

    def next_task(self) -> LogTask | None:
        """Return the next pod of a job without one in progress; `set_outcome` or `pause` ends it."""
        for uid, tasks in self._waiting.items():
            if uid in self._busy:
                continue
            task = tasks.popleft()
            if tasks:
                self._waiting.move_to_end(uid)
            else:
                del self._waiting[uid]
            self._busy.add(uid)
            return task
        return None

    def pause(self, task: LogTask) -> None:
        """End the turn of a pod whose log is to be retried; `resume` must follow."""
        self._busy.discard(task.job_uid)

    def resume(self, task: LogTask) -> None:
        """Queue a paused pod again, behind the other waiting pods of its job."""
        self._waiting.setdefault(task.job_uid, deque()).append(task)

    def set_outcome(self, task: LogTask, outcome: LogOutcome) -> None:
        """End the turn of a pod whose log is archived or given up."""
        self._busy.discard(task.job_uid)
        self._known.discard(task.pod_uid)
        outcomes = self._outcomes.setdefault(task.job_uid, {})
        self._kept += task.pod_uid not in outcomes
        outcomes[task.pod_uid] = outcome
        self._outcomes.move_to_end(task.job_uid)
        while self._kept > self.max_waiting and len(self._outcomes) > 1:
            _, forgotten = self._outcomes.popitem(last=False)
            self._kept -= len(forgotten)

    def has_waiting(self, job_uid: str) -> bool:
        """True if pods of a job wait."""
        return job_uid in self._waiting

    def outcomes_of(self, job_uid: str) -> Mapping[str, LogOutcome]:
        """Return the outcomes of a job's logs, by pod uid."""
        return self._outcomes.get(job_uid, _NOTHING)

    def forget(self, job_uid: str, *, before: int, present: Collection[str]) -> None:
        """Forget the outcomes of deleted pods of earlier attempts, which are in status.

        Args:
            job_uid: the job.
            before: outcomes of earlier attempts than this one are forgotten.
            present: uids of the job's existing pods.
        """
        outcomes = self._outcomes.get(job_uid, {})
        old = [pod for pod, o in outcomes.items() if o.attempt < before and pod not in present]
        for pod in old:
            del outcomes[pod]
        self._kept -= len(old)
        if not outcomes:
            self._outcomes.pop(job_uid, None)

    def forget_log_outcomes(self, job_uid: str) -> None:
        """Forget the outcomes of a job's logs."""
        self._kept -= len(self._outcomes.pop(job_uid, {}))
