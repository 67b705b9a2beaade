"""Wire model of TrainingJob's `status`: observed state, and the write-ahead log of decisions."""

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
    """A shutdown request, as it was first seen."""

    mode: Literal["Stop", "Terminate"]
    """Stop: SIGTERM and the pods' grace period. Terminate: at once."""

    requested_at: Time
    """Time at which the request was first seen."""

    requested_by: Annotated[str, Field(max_length=253)] | None = None
    """Field manager that set `spec.shutdown`, if the API server recorded it."""

    reason: Annotated[str, Field(max_length=1024)] | None = None
    """Reason of the request, if it was given."""


class UnreadLogsStatus(WireModel):
    """Ranks of an ended attempt whose logs are still to be archived."""

    attempt: Count
    """Number of the attempt."""

    ranks: Annotated[str, Field(max_length=4096, pattern=r"^[0-9,-]*$")]
    """Ranks of the attempt, such as 0,2-5."""


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
    """Ranks whose logs were not archived when their attempt ended. An entry is removed when the log is
    archived or reported as missing in the condition LogsArchived."""

    unbegun: Annotated[str, Field(max_length=4096, pattern=r"^[0-9,-]*$")] | None = None
    """Ranks of the current attempt whose pods were deleted before they started, such as 0,2-5. They
    have no logs."""


class TrainingJobStatus(WireModel):
    """The observed state of a job."""

    phase: Phase | None = None
    """The state of the job in one word, for people. Programs should use `conditions`."""

    conditions: Conditions | None = None
    """The state of the job, for programs. Exactly one of Complete, Failed and Cancelled becomes true,
    once; Finished becomes true with the same reason."""

    start_time: Time | None = None
    """Time at which the job started or was last resumed."""

    attempt_start_time: Time | None = None
    """Time at which the current attempt was first free to create its pods: the back-off of the restart
    was over, and no pod of an earlier attempt was running. Absent before, while scheduling gates hold
    its pods, and when the job has finished. `spec.preRunningDeadlineSeconds` counts from here."""

    completion_time: Time | None = None
    """Time at which the job finished, whatever the outcome."""

    observed_generation: BigCount | None = None
    """The `metadata.generation` that this status is based on."""

    attempt: Count | None = None
    """Number of the current attempt, from 0; each restart and each resume begins a new one."""

    launched_attempt: Count | None = None
    """The last attempt whose pods were all created. Absent before the first."""

    restarts: Count | None = None
    """Number of restarts that counted towards `spec.backoffLimit`."""

    disruptions: Count | None = None
    """Number of restarts after disruptions: drained, preempted, rejected or lost pods."""

    disruptions_since_progress: Count | None = None
    """Number of disruptions since every rank was last ready for ten minutes. The job fails if it
    exceeds `spec.disruptionLimit`."""

    active: Count | None = None
    """Number of pods that are pending or running, and not being deleted."""

    ready: Count | None = None
    """Number of pods that are running and ready."""

    succeeded: Count | None = None
    """Number of completed ranks of the current attempt."""

    failed: Count | None = None
    """Number of failed pods of the current attempt."""

    terminating: Count | None = None
    """Number of pods that are terminating."""

    completed_indexes: Annotated[str, Field(max_length=4096, pattern=r"^[0-9,-]*$")] | None = None
    """Completed ranks of the current attempt, such as 0,2-5."""

    shutdown: ShutdownStatus | None = None
    """The shutdown request, kept from when it was first seen."""

    exit_code: (
        Annotated[
            int, Field(ge=-MAX_INT32 - 1, le=MAX_INT32, json_schema_extra={"format": "int32"})
        ]
        | None
    ) = None
    """The exit code of the rank that decided the outcome."""

    record_state: RecordState | None = None
    """State of the job's record, which is stored outside the cluster. Absent until the job has
    finished."""

    record_revision: (
        Annotated[int, Field(ge=1, le=MAX_INT32, json_schema_extra={"format": "int32"})] | None
    ) = None
    """The revision of the record that `recordState` refers to, from 1. Absent until the job has
    finished."""

    logs: LogsStatus | None = None
    """The job's files on the log volume."""
