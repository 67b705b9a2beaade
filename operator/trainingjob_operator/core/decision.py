"""Data classes of the decision: its input (`Observation`) and its result (`Plan`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from trainingjob_operator.core.job import JobStatus, JobView
from trainingjob_operator.core.pod import PodView


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSettings:
    """The settings that decisions depend on; all durations in seconds.

    Attributes:
        restart_backoff_s: wait before the first restart; doubles with each further one.
        restart_backoff_cap_s: the longest wait before a restart.
        recording: records of finished jobs are stored, because an endpoint is configured.
        record_deadline_s: maximum time for which the deletion of a job waits for its record.
        partial_hold_s: minimum time for which a partly created gang keeps its pods; 0: for ever.
        archiving: logs of ranks are archived, because a log volume is configured.
    """

    restart_backoff_s: float = 1.0
    restart_backoff_cap_s: float = 60.0
    partial_hold_s: float = 60.0
    recording: bool = False
    record_deadline_s: float = 86_400.0
    archiving: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The API server's last refusal to create a pod or Service of a job; see `core.refusals`.

    Attributes:
        reason, message: for the condition `PodsReady`.
        retry_at: time of the next try; a permanent fault is retried at most once a minute.
        wait_s: the wait until `retry_at` when the refusal was received, in seconds.
        fatal: the request itself is wrong, and waiting does not help.
        attempt, generation: of the refused job; the refusal does not apply to others.
        refused_at: time of the refusal.
        partly_since: time since which the attempt has had only a part of its pods, as far as memory
            reaches; None if it has none.
        changed_retry_at: time of the next try if the job's generation has changed since.
        changed_wait_s: the wait until `changed_retry_at` when the refusal was received, in seconds.
    """

    reason: str
    message: str
    retry_at: datetime
    wait_s: float = 60.0
    fatal: bool = False
    attempt: int
    generation: int
    refused_at: datetime
    partly_since: datetime | None = None
    changed_retry_at: datetime
    changed_wait_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The result of one try to store a job's record.

    Attributes:
        uid, revision: the job's uid, and the revision of its record.
        result: `Stored`; `Conflict`: the receiver has different content for this revision;
            `Rejected`: the receiver does not accept the record.
        message: the cause, if the record was not stored.
    """

    uid: str
    revision: int
    result: Literal["Stored", "Conflict", "Rejected"]
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOutcome:
    """The result of archiving one pod's log: it is on the log volume, or it is given up.

    Attributes:
        attempt, rank: the attempt and the rank that wrote the log.
        lost: the reason why the log is not on the volume; "" if it is.
        ranks: all ranks whose logs are lost, if there are others beside `rank`.
        searched_ranks: the ranks of the `ArchiveSearch` that this outcome answers.
        volume_fault: the log is lost because of the volume, not because of the pod.
        cut: bytes left out at the beginning of the log, because it is too long.
        size: size of the job's archive afterwards, in bytes.
    """

    attempt: int
    rank: int
    lost: str = ""
    volume_fault: bool = False
    cut: int = 0
    size: int = 0
    ranks: frozenset[int] = frozenset()
    searched_ranks: frozenset[int] = frozenset()

    @property
    def missing(self) -> frozenset[int]:
        """The ranks whose logs are lost."""
        return (self.ranks or frozenset({self.rank})) if self.lost else frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSearch:
    """A search of the archive for the logs of ranks whose pods are gone.

    Memory does not have the outcome of these logs; the archive file does.
    """

    attempt: int
    ranks: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A job, its pods and everything else that a decision depends on, as of one moment.

    Attributes:
        pods: the pods that the job controls, of every attempt.
        vanished: ranks of the current attempt whose pods disappeared before they had ended.
        done: ranks of the current attempt that had completed when their pods were removed.
        ended: pods of the current attempt that had ended without completing when they were removed,
            as last seen.
        refusal: the last refusal, as long as it applies.
        pods_are_live: the pods were just read from the API server, so a missing pod does not exist.
        delivery: the result of the last try to store the record, until it is in status.
        endpoint_is_down: the record endpoint does not answer at the moment.
        logs: outcomes of archiving the pods' logs, by pod uid, as far as memory reaches.
        volume_error: the reason why the log volume cannot be written at the moment; "" if it can.
        unbegun: ranks of the current attempt whose pods were removed before they started, so that
            they have no log.
        begun: ranks of the current attempt whose pods had started when they were removed, even if an
            earlier view did not show it.
    """

    job: JobView
    pods: tuple[PodView, ...] = ()
    vanished: frozenset[int] = frozenset()
    done: frozenset[int] = frozenset()
    ended: tuple[PodView, ...] = ()
    refusal: Refusal | None = None
    pods_are_live: bool = False
    delivery: Delivery | None = None
    endpoint_is_down: bool = False
    logs: Mapping[str, LogOutcome] = field(default_factory=dict)
    volume_error: str = ""
    unbegun: frozenset[int] = frozenset()
    begun: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePod:
    """The deletion of one pod, identified by its uid.

    Attributes:
        grace_s: grace period in seconds; None: the pod's own.
        version: precondition on the pod's resourceVersion; None: no precondition.
    """

    name: str
    uid: str
    grace_s: int | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A Kubernetes Event about a job, as `kubectl describe` shows it."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The actions to take for one job.

    Their order is part of the contract:

    1. The ranks in `create` are created. Their names are deterministic, so a crash before the status
       write creates nothing twice. Then the decision is made again with the result.
    2. `status` is written.
    3. Only then, as a consequence of what status says, the pods in `delete` are deleted.

    Attributes:
        claim: add our finalizer to the job before anything else, because it will need a record.
        release: remove our finalizer from the job, after everything else.
        abandon: the released job's record was not stored; this is logged as a loss.
        create: ranks of `status.attempt` to create.
        archive: pods whose logs are to be copied to the log volume. A pod is not in `delete` before
            its log is archived or given up.
        archive_search: ranks without a pod whose logs are to be searched for in the archive.
        requeue_at: time of the next decision if no event arrives before.
        needs_live_pods: the decision depends on the absence of pods. Read them from the API server
            and decide again before the status is written.
    """

    status: JobStatus
    claim: bool = False
    release: bool = False
    abandon: bool = False
    create: tuple[int, ...] = ()
    archive: tuple[PodView, ...] = ()
    archive_search: ArchiveSearch | None = None
    delete: tuple[DeletePod, ...] = ()
    events: tuple[Event, ...] = ()
    requeue_at: datetime | None = None
    needs_live_pods: bool = False
