"""RetentionPolicy: how long finished jobs and their files are kept, and how housekeeping went."""

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
    """Time to live by how a job ended."""

    complete: Seconds | None = None
    """Seconds after which a job that is Complete is deleted."""

    failed: Seconds | None = None
    """Seconds after which a job that is Failed is deleted."""

    cancelled: Seconds | None = None
    """Seconds after which a job that is Cancelled is deleted."""


class RetentionLogs(WireModel):
    """Time for which files stay on the log volume."""

    max_age_seconds: Deadline | None = None
    """Seconds without a change after which the files of a finished job are removed."""


class RetentionPolicySpec(WireModel):
    """Times for which finished jobs and their files are kept."""

    ttl_seconds_after_finished: Seconds | None = None
    """Seconds after which a finished job is deleted, once its record is stored. A job's own
    `ttlSecondsAfterFinished` wins."""

    by_outcome: RetentionByOutcome | None = None
    """Times by outcome, which win over `ttlSecondsAfterFinished`."""

    successful_jobs_history_limit: _History | None = None
    """How many jobs that are Complete are kept at most: the oldest go first."""

    failed_jobs_history_limit: _History | None = None
    """How many jobs that are Failed or Cancelled are kept at most: the oldest go first."""

    logs: RetentionLogs | None = None
    """Time for which files stay on the log volume. Honoured in the operator's namespace only."""


class SweepTotals(WireModel):
    """Sums over all sweeps since the policy was created."""

    jobs_deleted: BigCount | None = None
    """Jobs deleted."""

    files_removed: BigCount | None = None
    """Files removed from the log volume."""

    directories_removed: BigCount | None = None
    """Directories removed from the log volume."""

    bytes_freed: BigCount | None = None
    """Bytes freed on the log volume."""

    errors: BigCount | None = None
    """Errors met."""


class RetentionPolicyStatus(WireModel):
    """Result of the last sweep."""

    observed_generation: BigCount | None = None
    """The `metadata.generation` that the last sweep followed."""

    ttl_seconds_after_finished: Seconds | None = None
    """Seconds for which finished jobs are kept as things are, unless they say otherwise
    themselves or the policy does so for their outcome."""

    last_sweep_time: Time | None = None
    """When the last sweep began."""

    last_duration_seconds: Count | None = None
    """How long the last sweep took, in whole seconds, rounded up."""

    next_sweep_time: Time | None = None
    """When the next sweep is due."""

    jobs_deleted: Count | None = None
    """Jobs deleted by the last sweep, and on time since the one before."""

    files_removed: Count | None = None
    """Files removed from the log volume by the last sweep."""

    directories_removed: Count | None = None
    """Directories removed from the log volume by the last sweep."""

    bytes_freed: BigCount | None = None
    """Bytes freed on the log volume by the last sweep."""

    errors: Count | None = None
    """Errors met by the last sweep."""

    skipped: (
        Annotated[
            dict[Annotated[str, Field(max_length=63)], Count],
            Field(max_length=32),
        ]
        | None
    ) = None
    """What the last sweep left alone: how many, by reason. Of jobs those whose time was over, or of
    which there were too many; of the log volume every entry that stays, live and young ones too."""

    totals: SweepTotals | None = None
    """Sums over all sweeps since the policy was created."""

    volume_id: Annotated[str, Field(max_length=253)] | None = None
    """The id of the log volume that this policy looks after."""

    conditions: Conditions | None = None
    """The state of housekeeping, for programs. VolumeHealthy says whether the log volume can be
    swept, and what to do if not."""


class RetentionPolicy(WireModel):
    """Times for which the finished jobs of a namespace are kept.

    The one in the operator's namespace rules all namespaces that have none.
    """

    model_config = ConfigDict(json_schema_extra=schema_extra(rules.POLICY_NAME))

    api_version: Literal["trainingjob.dev/v1alpha1"] = "trainingjob.dev/v1alpha1"
    """The version of the schema that this object is written in: trainingjob.dev/v1alpha1."""

    kind: Literal["RetentionPolicy"] = KIND_RETENTION_POLICY
    """The kind of this object: RetentionPolicy."""

    metadata: dict[str, Any]
    """The object's name, which must be default, its namespace, labels and annotations."""

    spec: RetentionPolicySpec = RetentionPolicySpec()
    """Times for which finished jobs and their files are kept. What is absent is inherited: from the
    policy in the operator's namespace, then from the operator's settings."""

    status: RetentionPolicyStatus | None = None
    """Result of the last sweep. Written by the operator alone."""
