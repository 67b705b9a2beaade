"""Wire model of TrainingJob: its `spec`, and the object as a whole."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from trainingjob_api import rules
from trainingjob_api.constants import KIND_TRAINING_JOB, MAX_NODES, MAX_PORT
from trainingjob_api.meta import (
    MAX_INT32,
    Deadline,
    Seconds,
    WireModel,
    schema_extra,
)
from trainingjob_api.training_job_status import TrainingJobStatus

Framework = Literal["Plain", "Torch", "JAX", "TensorFlow", "XGBoost"]
ShutdownMode = Literal["Stop", "Terminate"]
CleanPodPolicy = Literal["All", "Running", "None"]
FailureAction = Literal["FailJob", "Ignore", "Count"]

_ContainerName = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
]


class OnExitCodes(WireModel):
    """Exit codes that a rule of the pod failure policy matches."""

    model_config = ConfigDict(json_schema_extra=schema_extra(rules.ZERO_IS_NO_FAILURE))

    container_name: _ContainerName | None = None
    """Only exit codes of this container are compared. Absent: those of any container."""

    operator: Literal["In", "NotIn"]
    """In: the exit code is one of `values`. NotIn: it is neither 0 nor one of `values`."""

    values: Annotated[
        tuple[
            Annotated[int, Field(ge=0, le=MAX_INT32, json_schema_extra={"format": "int32"})], ...
        ],
        Field(
            strict=False,
            fail_fast=True,
            min_length=1,
            max_length=255,
            json_schema_extra=schema_extra(list_type="set"),
        ),
    ]
    """The exit codes to compare with; 0 is not allowed for `In`."""

    @model_validator(mode="after")
    def _zero_is_no_failure(self) -> Self:
        if self.operator == "In" and 0 in self.values:
            raise ValueError(rules.ZERO_IS_NO_FAILURE.message)
        return self


class OnPodCondition(WireModel):
    """A pod condition that a rule of the pod failure policy matches."""

    type: Annotated[
        str,
        Field(
            min_length=1,
            max_length=316,
            pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        ),
    ]
    """The type of the condition, such as DisruptionTarget."""

    status: Literal["True", "False", "Unknown"] = "True"
    """The required status of the condition."""


class PodFailurePolicyRule(WireModel):
    """A kind of pod failure, and the action to take on it."""

    model_config = ConfigDict(json_schema_extra=schema_extra(rules.ONE_KIND_OF_MATCH))

    action: FailureAction
    """FailJob: the job fails at once. Ignore: restart all ranks without counting it towards
    `backoffLimit`. Count: restart all ranks and count it."""

    on_exit_codes: OnExitCodes | None = None
    """Matches a pod by the exit code of a container."""

    on_pod_conditions: (
        Annotated[
            tuple[OnPodCondition, ...],
            Field(
                strict=False,
                fail_fast=True,
                min_length=1,
                max_length=20,
                json_schema_extra=schema_extra(list_type="atomic"),
            ),
        ]
        | None
    ) = None
    """Matches a pod that has any of these conditions."""

    @model_validator(mode="after")
    def _one_kind_of_match(self) -> Self:
        if (self.on_exit_codes is None) == (self.on_pod_conditions is None):
            raise ValueError(rules.ONE_KIND_OF_MATCH.message)
        return self


class PodFailurePolicy(WireModel):
    """Rules for the failure of a pod, in the form of a Job's podFailurePolicy."""

    rules: Annotated[
        tuple[PodFailurePolicyRule, ...],
        Field(
            strict=False,
            fail_fast=True,
            max_length=20,
            json_schema_extra=schema_extra(list_type="atomic"),
        ),
    ]
    """Evaluated in order for a pod that has ended; the first match decides. Without a match a failure
    counts towards `backoffLimit`, and a disruption does not."""


class Logs(WireModel):
    """The PersistentVolumeClaim from which the job's own directory is mounted."""

    model_config = ConfigDict(json_schema_extra=schema_extra(rules.LOGS_NEED_A_CLAIM))

    volume: bool = False
    """If true, the job's directory is mounted at /training in every container except init
    containers."""

    claim_name: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=253,
                pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
            ),
        ]
        | None
    ) = None
    """The PersistentVolumeClaim, in the job's namespace, that holds the log volume."""

    @model_validator(mode="after")
    def _volume_needs_a_claim(self) -> Self:
        if self.volume and self.claim_name is None:
            raise ValueError(rules.LOGS_NEED_A_CLAIM.message)
        return self


class TrainingJobSpec(WireModel):
    """The ranks to run, with limits of time and of restarts."""

    model_config = ConfigDict(
        json_schema_extra=schema_extra(
            rules.MANAGED_BY_IS_IMMUTABLE,
            rules.RENDEZVOUS_PORT_IS_IMMUTABLE,
            rules.SHUTDOWN_IS_NOT_WEAKENED,
        )
    )

    num_nodes: Annotated[int, Field(ge=1, le=MAX_NODES, json_schema_extra={"format": "int32"})] = 1
    """Number of nodes (ranks) of the job; each is one pod."""

    num_proc_per_node: (
        Annotated[int, Field(ge=1, le=1024, json_schema_extra={"format": "int32"})] | None
    ) = None
    """Number of processes that your launcher starts in each pod. Absent: for Torch the number of
    accelerators in the main container's limits, otherwise 1."""

    framework: Framework = "Plain"
    """Framework whose environment variables for the rendezvous are set: torch.distributed and
    torchrun (Torch), JAX, TensorFlow or XGBoost. Plain sets none."""

    rendezvous_port: (
        Annotated[int, Field(ge=1, le=MAX_PORT, json_schema_extra={"format": "int32"})] | None
    ) = None
    """The port on which rank 0 listens. Absent: 29500; with `hostNetwork` a port derived from the
    job's uid, so that such jobs can share a node. Cannot be changed."""

    template: dict[str, Any]
    """The pod template of every rank. With several containers the one called trainer is the main
    container: its exit code decides, and when it has ended the others are stopped."""

    backoff_limit: Annotated[int, Field(ge=0, le=100, json_schema_extra={"format": "int32"})] = 3
    """Number of restarts of all ranks after failures before the job fails. Disruptions, such as a
    drained node, are not counted."""

    disruption_limit: Annotated[
        int, Field(ge=0, le=10_000, json_schema_extra={"format": "int32"})
    ] = 100
    """Number of disruptions in a row that are tolerated before the job fails. The count is reset when
    every rank has been ready for ten minutes, and when the job is suspended."""

    pod_failure_policy: PodFailurePolicy | None = None
    """Consequences of a pod's failure for the job. Absent: a failure counts towards `backoffLimit`,
    and a disruption does not."""

    active_deadline_seconds: Deadline | None = None
    """Seconds after `status.startTime` at which a job that is still active fails. Resuming a suspended
    job starts the time again."""

    pre_running_deadline_seconds: Deadline | None = None
    """Seconds within which every rank of an attempt has to run, counted from
    `status.attemptStartTime`. After that all ranks restart, which counts towards `backoffLimit`."""

    suspend: bool = False
    """If true, the job is suspended: no pods are created, and running pods are deleted."""

    shutdown: ShutdownMode | None = None
    """Ends the job as Cancelled. Stop: SIGTERM and the pods' grace period. Terminate: at once. The
    request stays in force even if the field is removed later."""

    ttl_seconds_after_finished: Seconds | None = None
    """Seconds after which the finished job is deleted, once its record is stored. 0: at once.
    Absent: the RetentionPolicy applies."""

    clean_pod_policy: CleanPodPolicy = "Running"
    """Pods to delete when the job has finished: all, only those that still run, or none."""

    logs: Logs = Logs()
    """Mount of the job's own directory on the log volume."""

    managed_by: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=63,
                pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?/[-A-Za-z0-9/._~%!$&'()*+,;=:]+$",
            ),
        ]
        | None
    ) = None
    """The controller that manages this job, as `<domain>/<name>`. The operator ignores a job of
    another controller. Cannot be changed."""


class TrainingJob(WireModel):
    """A distributed training job: pods that start together, find each other, and end together."""

    model_config = ConfigDict(
        json_schema_extra=schema_extra(rules.JOB_NAME, *rules.SHAPE_IS_IMMUTABLE)
    )

    api_version: Literal["trainingjob.dev/v1alpha1"] = "trainingjob.dev/v1alpha1"
    """The version of the schema that this object is written in: trainingjob.dev/v1alpha1."""

    kind: Literal["TrainingJob"] = KIND_TRAINING_JOB
    """The kind of this object: TrainingJob."""

    metadata: dict[str, Any]
    """The object's name, namespace, labels and annotations."""

    spec: TrainingJobSpec
    """The ranks to run, with limits of time and of restarts."""

    status: TrainingJobStatus | None = None
    """The observed state of the job. Written only by the operator."""
