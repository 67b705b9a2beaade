"""Wire model of RetentionPolicy: TTLs of finished jobs and their files, and the last sweep's result."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from trainingjob_api import rules
from trainingjob_api.constants import KIND_RETENTION_POLICY
from trainingjob_api.meta import (
    BigCount,
    Conditions,
    Count,
    Deadline,
    Seconds,
    Time,
    WireModel,
    schema_extra,
)

_History = Annotated[int, Field(ge=0, le=100_000, json_schema_extra={"format": "int32"})]


class RetentionByOutcome(WireModel):
    """Time to live by the outcome of a job."""

    complete: Seconds | None = None
    """Seconds after which a Complete job is deleted."""

    failed: Seconds | None = None
    """Seconds after which a Failed job is deleted."""

    cancelled: Seconds | None = None
    """Seconds after which a Cancelled job is deleted."""


class RetentionLogs(WireModel):
    """Retention of files on the log volume."""

    max_age_seconds: Deadline | None = None
    """Seconds since the last change after which the files of a finished job are removed."""


class RetentionPolicySpec(WireModel):
    """Retention of finished jobs and their files."""

    ttl_seconds_after_finished: Seconds | None = None
    """Seconds after which a finished job is deleted, once its record is stored. A job's own
    `ttlSecondsAfterFinished` takes precedence."""

    by_outcome: RetentionByOutcome | None = None
    """Time to live by outcome; takes precedence over `ttlSecondsAfterFinished`."""

    successful_jobs_history_limit: _History | None = None
    """Maximum number of Complete jobs to keep; the oldest are deleted first."""

    failed_jobs_history_limit: _History | None = None
    """Maximum number of Failed and Cancelled jobs to keep; the oldest are deleted first."""

    logs: RetentionLogs | None = None
    """Retention of files on the log volume. Only used in the operator's namespace."""


class SweepTotals(WireModel):
    """Totals of all sweeps since the policy was created."""

    jobs_deleted: BigCount | None = None
    """Jobs deleted."""

    files_removed: BigCount | None = None
    """Files removed from the log volume."""

    directories_removed: BigCount | None = None
    """Directories removed from the log volume."""

    bytes_freed: BigCount | None = None
    """Bytes freed on the log volume."""

    errors: BigCount | None = None
    """Errors that occurred."""


class RetentionPolicyStatus(WireModel):
    """Result of the last sweep."""

    observed_generation: BigCount | None = None
    """The `metadata.generation` that the last sweep used."""

    ttl_seconds_after_finished: Seconds | None = None
    """Effective time to live of finished jobs, in seconds, unless the job itself or the policy's
    `byOutcome` sets another one."""

    last_sweep_time: Time | None = None
    """Start time of the last sweep."""

    last_duration_seconds: Count | None = None
    """Duration of the last sweep, in whole seconds, rounded up."""

    next_sweep_time: Time | None = None
    """Time at which the next sweep is due."""

    jobs_deleted: Count | None = None
    """Jobs deleted by the last sweep, and those deleted on time since the sweep before."""

    files_removed: Count | None = None
    """Files removed from the log volume by the last sweep."""

    directories_removed: Count | None = None
    """Directories removed from the log volume by the last sweep."""

    bytes_freed: BigCount | None = None
    """Bytes freed on the log volume by the last sweep."""

    errors: Count | None = None
    """Errors that occurred in the last sweep."""

    skipped: (
        Annotated[
            dict[Annotated[str, Field(max_length=63)], Count],
            Field(max_length=32),
        ]
        | None
    ) = None
    """Number of objects that the last sweep skipped, by reason. Jobs are counted if they had expired or
    exceeded a history limit; entries of the log volume are counted whenever they are kept, also
    those of live jobs and recent ones."""

    totals: SweepTotals | None = None
    """Totals of all sweeps since the policy was created."""

    volume_id: Annotated[str, Field(max_length=253)] | None = None
    """The id of the log volume that this policy applies to."""

    conditions: Conditions | None = None
    """Conditions of the policy. Valid: the spec is valid. VolumeHealthy: the log volume can be swept;
    if not, the message tells how to fix it."""


class RetentionPolicy(WireModel):
    """Retention of the finished jobs of a namespace.

    The policy in the operator's namespace is the default for all namespaces.
    """

    model_config = ConfigDict(json_schema_extra=schema_extra(rules.POLICY_NAME))

    api_version: Literal["trainingjob.dev/v1alpha1"] = "trainingjob.dev/v1alpha1"
    """The version of the schema that this object is written in: trainingjob.dev/v1alpha1."""

    kind: Literal["RetentionPolicy"] = KIND_RETENTION_POLICY
    """The kind of this object: RetentionPolicy."""

    metadata: dict[str, Any]
    """The object's name, which must be default, its namespace, labels and annotations."""

    spec: RetentionPolicySpec = RetentionPolicySpec()
    """Retention of finished jobs and their files. Absent fields are inherited: from the policy in the
    operator's namespace, then from the operator's settings."""

    status: RetentionPolicyStatus | None = None
    """Result of the last sweep. Written only by the operator."""
