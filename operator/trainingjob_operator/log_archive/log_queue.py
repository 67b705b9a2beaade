"""The pods whose logs are to be archived, and the outcomes of those that were.

Jobs take turns, one pod at a time for each: a job's archive is one file with one writer.

Bounds: `max_waiting` pods that wait, above which a pod is rejected (request it again later); and as many
outcomes, above which the oldest is forgotten (its pod is requested again, and its log is found in the file).
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
        key, job_uid: whose pod it is.
        pod, pod_uid: what to read.
        container: the main one; "": it has no log, because it has not begun.
        beside: the other containers that failed.
        running: its main container had not ended when it was asked for.
        asked_at: when that was, in monotonic seconds.
        give_up_at: when it is given up, if its turn has not come.
        looked_for: ranks without a pod, whose logs are searched for in the archive.
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
    looked_for: frozenset[int] = frozenset()

    @property
    def sections(self) -> tuple[tuple[str, str], ...]:
        """Each container that is to be read, with what its section calls it."""
        main = ((self.container, ""),) if self.container else ()
        return main + tuple((name, name) for name in self.beside)


class LogQueue:
    """Pods that wait, by job, and outcomes, by job and pod."""

    def __init__(self, max_waiting: int) -> None:
        """Make an empty queue.

        Args:
            max_waiting: pods that wait at most, and outcomes that are kept.
        """
        self.max_waiting: Final = max_waiting
        self._waiting: Final[OrderedDict[str, deque[LogTask]]] = OrderedDict()
        self._known: Final[set[str]] = set()  # pods that wait or are worked on
        self._busy: Final[set[str]] = set()  # jobs that are worked on
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
        """Pods that wait or are worked on."""
        return len(self._known)

    @property
    def outcomes_kept(self) -> int:
        """Outcomes in memory."""
        return self._kept

    def add(self, task: LogTask) -> bool:
        """Add a pod, once. False: there is no room for it now."""
        if task.pod_uid in self._known:
            return True
        if len(self._known) >= self.max_waiting:
            self.refused_total += 1
            return False
        self._known.add(task.pod_uid)
        self._waiting.setdefault(task.job_uid, deque()).append(task)
        return True

    def next_task(self) -> LogTask | None:
        """Return the next pod, of a job of which no other one is worked on; `set_outcome` ends its turn."""
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
        """End the turn of a pod that could not be archived now; `resume` has to follow."""
        self._busy.discard(task.job_uid)

    def resume(self, task: LogTask) -> None:
        """Let a paused pod wait again, behind those of its job that wait already."""
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
        """Return the outcomes of the logs of a job's pods, by their uids."""
        return self._outcomes.get(job_uid, _NOTHING)

    def forget(self, job_uid: str, *, before: int, present: Collection[str]) -> None:
        """Forget the outcomes of pods of earlier attempts that are gone: status has them.

        Args:
            job_uid: whose.
            before: the current attempt.
            present: uids of the pods that are there.
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
