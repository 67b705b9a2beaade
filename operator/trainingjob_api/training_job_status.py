"""TrainingJob's status: what the operator observed and decided, and its write-ahead record."""

from typing import Annotated, Literal

from pydantic import Field

from trainingjob_api.constants import MAX_UNREAD_ATTEMPTS
from trainingjob_api.meta import (
    MAX_INT32,
    BigCount,
    Conditions,
    Count,
    Time,
    WireModel,
    schema_extra,
)

Phase = Literal[
    "Pending",
    "Running",
    "Suspended",
    "Restarting",
    "Stopping",
    "Succeeded",
    "Failed",
    "Cancelled",
]
RecordState = Literal["Pending", "Stored", "Rejected", "NotRequired"]


class ShutdownStatus(WireModel):
    """A request to stop, as it was first seen."""

    mode: Literal["Stop", "Terminate"]
    """Stop: SIGTERM and the pods' grace period. Terminate: at once."""

    requested_at: Time
    """When the request was first seen."""

    requested_by: Annotated[str, Field(max_length=253)] | None = None
    """Who asked, as far as the API server tells: the field manager of `spec.shutdown`."""

    reason: Annotated[str, Field(max_length=1024)] | None = None
    """Why, where the request says so."""


class UnreadLogsStatus(WireModel):
    """Ranks of an attempt that is over, whose logs are still to be archived."""

    attempt: Count
    """The attempt."""

    ranks: Annotated[str, Field(max_length=4096, pattern=r"^[0-9,-]*$")]
    """Its ranks, such as 0,2-5."""


class LogsStatus(WireModel):
    """The job's files on the log volume."""

    path: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """The job's directory, relative to the root of the log volume."""

    bytes: BigCount | None = None
    """Size of the archived output of all ranks, in bytes."""

    unread: (
        Annotated[
            tuple[UnreadLogsStatus, ...],
            Field(
                strict=False,
                fail_fast=True,
                max_length=MAX_UNREAD_ATTEMPTS,
                json_schema_extra=schema_extra(list_type="atomic"),
            ),
        ]
        | None
    ) = None
    """Ranks whose logs were not archived when their attempt ended. They are archived, or named in
    the condition LogsArchived as missing, and then removed from here."""

    unbegun: Annotated[str, Field(max_length=4096, pattern=r"^[0-9,-]*$")] | None = None
    """Ranks of the current attempt whose pods were deleted before they had begun, such as 0,2-5.
    There is no log of them."""


class TrainingJobStatus(WireModel):
    """The operator's observations and decisions."""

    phase: Phase | None = None
    """The state of the job in one word, for people. Programs read `conditions`."""

    conditions: Conditions | None = None
    """The state of the job, for programs. Finished is true with the reason of Complete, Failed or
    Cancelled, exactly one of which becomes true, once."""

    start_time: Time | None = None
    """When the operator took up the job, or resumed it."""

    attempt_start_time: Time | None = None
    """When the current attempt was first free to create its pods: the wait before a restart was
    over, and nothing of an earlier attempt ran any more. Absent before, while scheduling gates hold
    its pods, and when the job is finished. `spec.preRunningDeadlineSeconds` counts from here."""

    completion_time: Time | None = None
    """When the job was finished, whatever the outcome."""

    observed_generation: BigCount | None = None
    """The `metadata.generation` that this status speaks of."""

    attempt: Count | None = None
    """The current start of all ranks, counted from 0; resuming and restarting begin a new one."""

    launched_attempt: Count | None = None
    """The last attempt of which every pod was created. Absent before the first."""

    restarts: Count | None = None
    """Restarts that counted towards `spec.backoffLimit`."""

    disruptions: Count | None = None
    """Restarts for which the job is not to blame: drained, preempted, rejected or lost pods."""

    disruptions_since_progress: Count | None = None
    """Disruptions in a row, between which not every rank was ready for ten minutes. More than
    `spec.disruptionLimit` fail the job."""

    active: Count | None = None
    """Pods that are pending or running, and not being deleted."""

    ready: Count | None = None
    """Pods that are running and ready."""

    succeeded: Count | None = None
    """Ranks of the current attempt that are done."""

    failed: Count | None = None
    """Pods of the current attempt that failed."""

    terminating: Count | None = None
    """Pods that are being deleted and not gone yet."""

    completed_indexes: Annotated[str, Field(max_length=4096, pattern=r"^[0-9,-]*$")] | None = None
    """Ranks of the current attempt that are done, such as 0,2-5."""

    shutdown: ShutdownStatus | None = None
    """The request to stop, kept from when it was first seen."""

    exit_code: (
        Annotated[
            int, Field(ge=-MAX_INT32 - 1, le=MAX_INT32, json_schema_extra={"format": "int32"})
        ]
        | None
    ) = None
    """The exit code of the rank that decided the outcome."""

    record_state: RecordState | None = None
    """Whether the job's record is stored outside the cluster. Absent until the job is finished."""

    record_revision: (
        Annotated[int, Field(ge=1, le=MAX_INT32, json_schema_extra={"format": "int32"})] | None
    ) = None
    """The revision of the record that `recordState` speaks of, from 1. Absent until the job is
    finished."""

    logs: LogsStatus | None = None
    """The job's files on the log volume."""
