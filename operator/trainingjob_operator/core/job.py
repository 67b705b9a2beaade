"""The operator's memory of a TrainingJob: small frozen values, never the pod template.

The template comes from a live read whenever pods are made from it, so that the index stays small
and nothing is started from a stale copy.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from trainingjob_api.constants import (
    CONDITION_FINISHED,
    CONDITION_LOGS_ARCHIVED,
    FINALIZER_RECORD,
    REASON_LOGS_PENDING,
    TERMINAL_CONDITIONS,
)
from trainingjob_operator.core.fast_replace import differing_fields


class JobKey(NamedTuple):
    """The address of a job. Two jobs can have one address, one after the other: compare uids."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One metav1.Condition.

    Attributes:
        last_transition_time: when `status` last flipped, whole seconds, UTC.
        observed_generation: the generation of the spec that it speaks of.
        foreign: of a type that is not ours, the condition as it was read, as JSON: it goes back
            unchanged, and nothing else is known of it. "" for ours.
    """

    type: str
    status: bool
    reason: str
    message: str
    last_transition_time: datetime
    observed_generation: int = 0
    foreign: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown:
    """A request to stop, latched: once in status it holds whatever becomes of the spec."""

    mode: str
    requested_at: datetime
    requested_by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadLogs:
    """Ranks of one attempt whose logs were not known to be archived; see `core.unread_logs`.

    Attributes:
        attempt: whose ranks they are.
        ranks: the ranks, as `core.naming` writes them.
    """

    attempt: int
    ranks: str


class RecordState(StrEnum):
    """The state of a finished job's record; another version of the operator may know others."""

    PENDING = "Pending"
    STORED = "Stored"
    REJECTED = "Rejected"
    NOT_REQUIRED = "NotRequired"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """The status of a job as the operator writes it; see `api.md` for each field's meaning.

    Attributes:
        launched_attempt: the last attempt of which every pod was created; None before the first.
        disruptions_since_progress: those in a row between which not every rank ran for a while.
        completed_indexes: ranks that are done in the current attempt, in batch/v1's format.
        attempt_start_time: when the current attempt was first free to create its pods; None before,
            while scheduling gates hold them, and when the job is finished.
        exit_code: of the rank that decided the outcome.
        log_path: the job's directory on the log volume, relative to its root.
        log_bytes: size of its archived logs.
        unread_logs: ranks of attempts that are over, whose logs are still to be archived or to be
            looked for; by attempt, in ascending order.
        unbegun_indexes: ranks of the current attempt whose pods were to go before they had begun:
            no log of them is owed.
    """

    phase: str = ""
    conditions: tuple[Condition, ...] = ()
    start_time: datetime | None = None
    attempt_start_time: datetime | None = None
    completion_time: datetime | None = None
    observed_generation: int = 0
    attempt: int = 0
    launched_attempt: int | None = None
    restarts: int = 0
    disruptions: int = 0
    disruptions_since_progress: int = 0
    active: int = 0
    ready: int = 0
    succeeded: int = 0
    failed: int = 0
    terminating: int = 0
    completed_indexes: str = ""
    shutdown: Shutdown | None = None
    exit_code: int | None = None
    record_state: str | None = None
    record_revision: int | None = None
    log_path: str | None = None
    log_bytes: int | None = None
    unread_logs: tuple[UnreadLogs, ...] = ()
    unbegun_indexes: str = ""

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of this type, or None."""
        for condition in self.conditions:  # asked fifty times in a pass: no generator
            if condition.type == kind:
                return condition
        return None

    def is_true(self, kind: str) -> bool:
        """True if the condition of this type is there and true."""
        for condition in self.conditions:
            if condition.type == kind:
                return condition.status
        return False

    @property
    def is_finished(self) -> bool:
        """True if one of the terminal conditions is true."""
        for condition in self.conditions:
            # Of two of a type, which only a hand can have written, the first one counts.
            is_terminal = condition.status and condition.type in TERMINAL_CONDITIONS
            if is_terminal and self.is_true(condition.type):
                return True
        return False

    @property
    def never_started(self) -> bool:
        """True if no attempt has started, as far as status says."""
        return self.attempt == 0 and self.launched_attempt is None

    @property
    def logs_wait(self) -> bool:
        """True if logs are still to be archived.

        False as well for logs that were given up, and for a job that has none.
        """
        found = self.condition(CONDITION_LOGS_ARCHIVED)
        return found is not None and found.reason == REASON_LOGS_PENDING

    @property
    def record_waits(self) -> bool:
        """True if the job has finished and its record is neither stored nor given up."""
        return self.is_finished and self.record_state in {
            RecordState.PENDING,
            RecordState.REJECTED,
        }

    @property
    def outcome(self) -> Condition | None:
        """The condition `Finished` while it is true; its reason is the terminal one's."""
        found = self.condition(CONDITION_FINISHED)
        return found if found is not None and found.status else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailurePolicyRule:
    """One rule of `spec.podFailurePolicy`, in batch/v1's shape.

    Attributes:
        action: `FailJob`, `Ignore` or `Count`.
        container: name of the container whose exit code counts; None: any.
        operator: `In` or `NotIn`, for exit codes; None for a rule on conditions.
        values: the exit codes.
        conditions: pairs of (type, status) of pod conditions, any of which matches.
    """

    action: str
    container: str | None = None
    operator: str | None = None
    values: frozenset[int] = frozenset()
    conditions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """The part of `spec` that decisions need; all durations in seconds."""

    num_nodes: int = 1
    backoff_limit: int = 3
    disruption_limit: int = 100
    suspend: bool = False
    shutdown: str | None = None
    active_deadline_s: int | None = None
    pre_running_deadline_s: int | None = None
    clean_pod_policy: str = "Running"
    managed_by: str | None = None
    ttl_s: int | None = None
    failure_rules: tuple[FailurePolicyRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job as it was last seen.

    Attributes:
        invalid: why `spec` cannot be understood; None when it can. `spec` then has defaults.
        deleted_at: when its deletion was requested; None: it was not.
        discard_record: its user gave its record up.
        keep: its user pinned it: no retention policy removes it or its files.
        gitops_owner: the tool that would create it again, like `Helm`; "": none.
        finalizers: those that mean something to us; how many others a job has, and how long they
            are, is up to those who may write to it.
        finalizer_count: how many it has in all.
        record_finalizer_at: the place of the one that stands for its record among all of them;
            None: it is not there.
        shutdown_by: the field manager that set `spec.shutdown`, as far as the API server says.
    """

    key: JobKey
    uid: str
    resource_version: str
    generation: int
    created_at: datetime
    spec: JobSpec = field(default_factory=JobSpec)
    status: JobStatus = field(default_factory=JobStatus)
    invalid: str | None = None
    deleting: bool = False
    deleted_at: datetime | None = None
    discard_record: bool = False
    keep: bool = False
    gitops_owner: str = ""
    finalizers: tuple[str, ...] = ()
    finalizer_count: int = 0
    record_finalizer_at: int | None = None
    shutdown_by: str = ""

    @property
    def owes_record(self) -> bool:
        """True if the job carries the finalizer that stands for its record."""
        return FINALIZER_RECORD in self.finalizers

    @property
    def is_to_end(self) -> bool:
        """True if its user wants it to end: it is being deleted, or is to shut down."""
        is_shut_down = self.spec.shutdown is not None or self.status.shutdown is not None
        return self.deleting or is_shut_down


def changed_fields(old: JobStatus, new: JobStatus) -> frozenset[str]:
    """Return the names of the fields in which two statuses differ."""
    return differing_fields(old, new)


def has_gone_back(known: str, live: str, *, at: str) -> bool:
    """True if an object was older in an answer than what had been known at the answer's version.

    That contradicts itself, unless the cluster was restored from a backup since. What is known and
    newer than the answer says nothing: it came after that.

    Args:
        known: the object's resourceVersion as it was seen before.
        live: its resourceVersion in the answer.
        at: the resourceVersion of the answer as a whole, which the store itself gave.
    """
    are_numbers = known.isdigit() and live.isdigit() and at.isdigit()
    return are_numbers and is_newer(known, live) and not is_newer(known, at)


def describe_rewind(known: JobView, live: JobView) -> str:
    """Say in which job it was seen that the cluster has gone back."""
    return (
        f"job {known.key} has gone back from version {known.resource_version} to "
        f"{live.resource_version}, as after the restore of a backup"
    )


def is_newer(version: str, than: str) -> bool:
    """True if a resourceVersion comes after another one.

    Resource versions of one kind are whole numbers that grow (Kubernetes documents them as
    comparable since 1.35). One that is no number is taken as newer: better one pass too many
    than an update that is never seen.
    """
    try:
        return int(version) > int(than)
    except ValueError:
        return version != than
