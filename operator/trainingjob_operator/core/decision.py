"""The input of a decision and its result."""

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
        recording: finished jobs leave a record: an endpoint is set.
        record_deadline_s: how long a job that its user deleted is held for its record.
        partial_hold_s: for how long, at least, a gang that is refused in part keeps what it has; 0:
            for ever.
        archiving: the logs of ranks are archived: there is a log volume.
    """

    restart_backoff_s: float = 1.0
    restart_backoff_cap_s: float = 60.0
    partial_hold_s: float = 60.0
    recording: bool = False
    record_deadline_s: float = 86_400.0
    archiving: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The API server's last refusal to create something of a job; see `core.refusals`.

    Attributes:
        reason, message: what becomes of it in the condition `PodsReady`.
        retry_at: when to ask again; a permanent fault is not asked about more than once a minute.
        wait_s: how long that was, in seconds, when it was refused.
        fatal: the request itself is wrong, and waiting does not help.
        attempt, generation: of the job that was refused; a refusal says nothing of others.
        refused_at: when that was.
        partly_since: since when the attempt has had a part of its pods and was refused the rest, as
            far as memory reaches; None if it has none.
        changed_retry_at: when to ask for the same attempt of a job that has changed since.
        changed_wait_s: how long that was, in seconds, when it was refused.
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
    """The result of a try to store a job's record.

    Attributes:
        uid, revision: of which job, and which revision of its record.
        result: `Stored`; `Conflict`: the receiver has other content under this revision;
            `Rejected`: it will not take it.
        message: why, when it was not stored.
    """

    uid: str
    revision: int
    result: Literal["Stored", "Conflict", "Rejected"]
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOutcome:
    """The result for the log of one pod: it is on the log volume, or it is given up.

    Attributes:
        attempt, rank: whose log it is.
        lost: why it is not on the volume; "" when it is.
        ranks: all ranks whose logs are lost, if they are not this one alone.
        looked_for: of the answer to a `Survey`, its ranks.
        volume_fault: it is the volume that is to blame for that, and not the pod.
        cut: bytes of its beginning that were left out, because it is too long.
        size: bytes of the job's archive afterwards.
    """

    attempt: int
    rank: int
    lost: str = ""
    volume_fault: bool = False
    cut: int = 0
    size: int = 0
    ranks: frozenset[int] = frozenset()
    looked_for: frozenset[int] = frozenset()

    @property
    def missing(self) -> frozenset[int]:
        """The ranks whose logs are lost."""
        return (self.ranks or frozenset({self.rank})) if self.lost else frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Ranks that had pods and have none any more, and of whose logs memory knows nothing.

    The archive knows.
    """

    attempt: int
    ranks: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A job and its surroundings as they were seen at one moment.

    Attributes:
        pods: the pods that the job controls, of every attempt.
        vanished: ranks of the current attempt whose pods are known to be gone unfinished.
        done: ranks of the current attempt that had completed when their pods went.
        ended: pods of the current attempt that had ended otherwise when they went, as last seen.
        refusal: the last refusal while it stands.
        pods_are_live: the pods were read from the API just now, so absence can be believed.
        delivery: the result of the last try to store the record, until status says it.
        endpoint_is_down: the record endpoint does not answer at the moment.
        logs: what became of the logs of its pods, by the pods' uids, as far as memory reaches.
        volume_error: why the log volume cannot be written at the moment; "" when it can.
        unbegun: ranks of the current attempt whose pods went before they had begun, without a log.
        begun: ranks of the current attempt whose pods went after they had begun, whatever was seen
            of them before.
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
    """Delete this very pod.

    Attributes:
        grace_s: grace period in seconds; None: the pod's own.
        version: the only resourceVersion of it that may be deleted; None: any.
    """

    name: str
    uid: str
    grace_s: int | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a job, for `kubectl describe`."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The actions that are due for one job.

    The order is part of the contract: ranks in `create` are created first (their names are
    deterministic, so a crash before the status is written creates nothing twice), then the
    decision is made anew with what came of it; `status` is written; and only then, as a
    consequence of what status says, the pods in `delete` are deleted.

    Attributes:
        claim: put our finalizer on the job before anything else: a record will be owed.
        release: take our finalizer off the job, last of all.
        abandon: the record of a job that is released was not stored; say so loudly.
        create: ranks of `status.attempt` to create.
        archive: pods whose logs are to be put on the log volume; of those that shall go none is in
            `delete` before its log is archived or given up.
        survey: ranks without a pod; the archive is asked if it has their logs.
        look_again_at: when the next decision is due if nothing happens before.
        needs_live_pods: the decision rests on the absence of pods; read them from the API and
            decide again before anything is recorded.
    """

    status: JobStatus
    claim: bool = False
    release: bool = False
    abandon: bool = False
    create: tuple[int, ...] = ()
    archive: tuple[PodView, ...] = ()
    survey: Survey | None = None
    delete: tuple[DeletePod, ...] = ()
    events: tuple[Event, ...] = ()
    look_again_at: datetime | None = None
    needs_live_pods: bool = False
