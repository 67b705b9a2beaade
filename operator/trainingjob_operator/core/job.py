"""Data classes for a TrainingJob in the index: spec without the pod template, status and metadata.

The template is read live from the API server whenever pods are created from it. So the index stays
small, and nothing is started from a stale copy.
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
    """The namespace and name of a job. A later job can have the same key: compare uids."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One metav1.Condition.

    Attributes:
        last_transition_time: when `status` last flipped, whole seconds, UTC.
        observed_generation: the generation of the spec that it describes.
        foreign: for a type that another controller owns, the condition as JSON, as it was read. It is
            written back unchanged, and its other fields are not parsed. "" for our own types.
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
    """A request to stop, latched: once in status it stays in force even if the spec changes."""

    mode: str
    requested_at: datetime
    requested_by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadLogs:
    """Ranks of one attempt whose logs were not known to be archived; see `core.unread_logs`.

    Attributes:
        attempt: the attempt.
        ranks: its ranks, in the format of `core.naming.format_indexes`.
    """

    attempt: int
    ranks: str


class RecordState(StrEnum):
    """The state of a finished job's record; other versions of the operator may have further ones."""

    PENDING = "Pending"
    STORED = "Stored"
    REJECTED = "Rejected"
    NOT_REQUIRED = "NotRequired"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """The status of a job as the operator writes it; `trainingjob_api` describes each field.

    Attributes:
        launched_attempt: the last attempt of which every pod was created; None before the first.
        disruptions_since_progress: disruptions in a row between which not every rank was ready for
            ten minutes.
        completed_indexes: completed ranks of the current attempt, in batch/v1's format.
        attempt_start_time: time at which the current attempt was first free to create its pods; None
            before, while scheduling gates hold them, and when the job is finished.
        exit_code: exit code of the rank that decided the outcome.
        log_path: the job's directory on the log volume, relative to its root.
        log_bytes: size of its archived logs.
        unread_logs: ranks of ended attempts whose logs are still to be archived or searched for, by
            attempt in ascending order.
        unbegun_indexes: ranks of the current attempt whose pods were deleted before they started, so
            that no log of them is expected.
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
        for condition in self.conditions:  # called fifty times in a pass: a generator is too slow
            if condition.type == kind:
                return condition
        return None

    def is_true(self, kind: str) -> bool:
        """True if the condition of this type exists and is true."""
        for condition in self.conditions:
            if condition.type == kind:
                return condition.status
        return False

    @property
    def is_finished(self) -> bool:
        """True if one of the terminal conditions is true."""
        for condition in self.conditions:
            # Two conditions of one type can only come from a manual edit; the first one counts.
            is_terminal = condition.status and condition.type in TERMINAL_CONDITIONS
            if is_terminal and self.is_true(condition.type):
                return True
        return False

    @property
    def never_started(self) -> bool:
        """True if no attempt has started, according to status."""
        return self.attempt == 0 and self.launched_attempt is None

    @property
    def logs_pending(self) -> bool:
        """True if logs are still to be archived.

        Also false if the logs were given up or the job has none.
        """
        found = self.condition(CONDITION_LOGS_ARCHIVED)
        return found is not None and found.reason == REASON_LOGS_PENDING

    @property
    def record_pending(self) -> bool:
        """True if the job has finished and its record is neither stored nor given up."""
        return self.is_finished and self.record_state in {
            RecordState.PENDING,
            RecordState.REJECTED,
        }

    @property
    def outcome(self) -> Condition | None:
        """The condition `Finished` if it is true; it has the terminal condition's reason."""
        found = self.condition(CONDITION_FINISHED)
        return found if found is not None and found.status else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailurePolicyRule:
    """One rule of `spec.podFailurePolicy`, in batch/v1's shape.

    Attributes:
        action: `FailJob`, `Ignore` or `Count`.
        container: name of the container whose exit code is compared; None: any.
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
    """A TrainingJob as it was last seen.

    Attributes:
        invalid: the reason why `spec` is invalid, in which case `spec` has defaults; None if it is
            valid.
        deleted_at: time at which its deletion was requested; None if it was not.
        discard_record: its user gave up its record by annotation.
        keep: its user pinned it by annotation: no retention policy removes it or its files.
        gitops_owner: the tool that would recreate it after a deletion, such as `Helm`; "": none.
        finalizers: the finalizers that the operator handles. Others are not stored, because their
            number and length are up to anybody who may write the job.
        finalizer_count: number of all its finalizers.
        record_finalizer_at: index of the record finalizer in the list of all finalizers; None: it is
            not set.
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
    def has_record_finalizer(self) -> bool:
        """True if the job carries the finalizer that waits for its record."""
        return FINALIZER_RECORD in self.finalizers

    @property
    def should_end(self) -> bool:
        """True if its user ended it: it is being deleted, or a shutdown was requested."""
        is_shut_down = self.spec.shutdown is not None or self.status.shutdown is not None
        return self.deleting or is_shut_down


def changed_fields(old: JobStatus, new: JobStatus) -> frozenset[str]:
    """Return the names of the fields in which two statuses differ."""
    return differing_fields(old, new)


def is_rewound(known: str, live: str, *, at: str) -> bool:
    """True if a list contains an older version of an object than was known at the list's version.

    This happens only if the cluster was restored from a backup. A known version that is newer than
    the list proves nothing: the object changed after the list was made.

    Args:
        known: the object's resourceVersion as it was seen before.
        live: its resourceVersion in the list.
        at: the resourceVersion of the list itself, as returned by the API server.
    """
    are_numbers = known.isdigit() and live.isdigit() and at.isdigit()
    return are_numbers and is_newer(known, live) and not is_newer(known, at)


def describe_rewind(known: JobView, live: JobView) -> str:
    """Return a message that names the job in which the restore of a backup was detected."""
    return (
        f"job {known.key} has gone back from version {known.resource_version} to "
        f"{live.resource_version}, as after the restore of a backup"
    )


def is_newer(version: str, than: str) -> bool:
    """True if a resourceVersion is newer than another one.

    Resource versions of one kind are increasing integers (Kubernetes documents them as comparable
    since 1.35). One that is not a number counts as newer: an unnecessary pass is better than an
    update that is never seen.
    """
    try:
        return int(version) > int(than)
    except ValueError:
        return version != than
