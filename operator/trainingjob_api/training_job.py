"""TrainingJob as users write it: `spec`, and the object around it."""

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
    """Exit codes that a rule of the pod failure policy looks for."""

    model_config = ConfigDict(json_schema_extra=schema_extra(rules.ZERO_IS_NO_FAILURE))

    container_name: _ContainerName | None = None
    """Only exit codes of this container count. Absent: those of any container."""

    operator: Literal["In", "NotIn"]
    """In: the code is one of `values`. NotIn: it is not 0 and none of `values`."""

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
    """The exit codes, from 1 for `In`."""

    @model_validator(mode="after")
    def _zero_is_no_failure(self) -> Self:
        if self.operator == "In" and 0 in self.values:
            raise ValueError(rules.ZERO_IS_NO_FAILURE.message)
        return self


class OnPodCondition(WireModel):
    """A pod condition that a rule of the pod failure policy looks for."""

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
    """The status that the condition has to have."""


class PodFailurePolicyRule(WireModel):
    """A kind of failure, and the action that the job takes on it."""

    model_config = ConfigDict(json_schema_extra=schema_extra(rules.ONE_KIND_OF_MATCH))

    action: FailureAction
    """FailJob: the job is failed at once. Ignore: restart all ranks without spending a try.
    Count: restart all ranks and count it towards `backoffLimit`."""

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
    """Rules for the failure of a pod, in the shape of a Job's podFailurePolicy."""

    rules: Annotated[
        tuple[PodFailurePolicyRule, ...],
        Field(
            strict=False,
            fail_fast=True,
            max_length=20,
            json_schema_extra=schema_extra(list_type="atomic"),
        ),
    ]
    """Read in order: the first that matches a pod that has ended decides. Without a match a failure
    counts towards `backoffLimit`, and a disruption does not."""


class Logs(WireModel):
    """The claim from which the job's own directory is mounted."""

    model_config = ConfigDict(json_schema_extra=schema_extra(rules.LOGS_NEED_A_CLAIM))

    volume: bool = False
    """Whether the job's directory is mounted at /training in every container."""

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
    """The ranks to run, and how long and how often to try."""

    model_config = ConfigDict(
        json_schema_extra=schema_extra(
            rules.MANAGED_BY_IS_IMMUTABLE,
            rules.RENDEZVOUS_PORT_IS_IMMUTABLE,
            rules.SHUTDOWN_IS_NOT_WEAKENED,
        )
    )

    num_nodes: Annotated[int, Field(ge=1, le=MAX_NODES, json_schema_extra={"format": "int32"})] = 1
    """How many nodes (ranks) the job has: one pod for each."""

    num_proc_per_node: (
        Annotated[int, Field(ge=1, le=1024, json_schema_extra={"format": "int32"})] | None
    ) = None
    """How many processes your launcher starts in each pod. Absent: for Torch the number of
    accelerators in the main container's limits, otherwise 1."""

    framework: Framework = "Plain"
    """Which variables tell the ranks about each other: those of torch.distributed and torchrun,
    JAX, TensorFlow or XGBoost; Plain sets none of them."""

    rendezvous_port: (
        Annotated[int, Field(ge=1, le=MAX_PORT, json_schema_extra={"format": "int32"})] | None
    ) = None
    """The port on which rank 0 is met. Absent: 29500, and with `hostNetwork` one that is made from
    the job's uid, so that such jobs can share a node. Cannot be changed."""

    template: dict[str, Any]
    """The pod that each rank runs. With several containers the one called trainer is the main
    one: its exit decides, and then the others are stopped."""

    backoff_limit: Annotated[int, Field(ge=0, le=100, json_schema_extra={"format": "int32"})] = 3
    """How many times all ranks are started again after a failure before the job is failed.
    Disruptions, such as a drained node, are not counted."""

    disruption_limit: Annotated[
        int, Field(ge=0, le=10_000, json_schema_extra={"format": "int32"})
    ] = 100
    """How many disruptions in a row are borne before the job is failed. The count starts anew when
    every rank has been ready for ten minutes, and when the job is suspended."""

    pod_failure_policy: PodFailurePolicy | None = None
    """What the failure of a pod means for the job. Absent: a failure counts towards
    `backoffLimit`, and a disruption does not."""

    active_deadline_seconds: Deadline | None = None
    """Seconds after `status.startTime` at which a job that is still active is failed. Resuming a
    suspended job starts the time again."""

    pre_running_deadline_seconds: Deadline | None = None
    """Seconds within which every rank of an attempt has to run, counted from
    `status.attemptStartTime`. When they are over the attempt is taken down and one try is
    spent."""

    suspend: bool = False
    """Whether the job is held: no pods are created, and those that run are deleted."""

    shutdown: ShutdownMode | None = None
    """Ends the job as Cancelled. Stop: SIGTERM and the pods' grace period. Terminate: at once.
    Once seen it holds, even if the field is removed later."""

    ttl_seconds_after_finished: Seconds | None = None
    """Seconds after which the finished job is deleted, once its record is stored. 0: at once.
    Absent: the RetentionPolicy decides."""

    clean_pod_policy: CleanPodPolicy = "Running"
    """Which pods are deleted when the job is finished. Running: only those that still run."""

    logs: Logs = Logs()
    """Whether and from where the job's own directory is mounted."""

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
    """The controller that looks after this job, as `<domain>/<name>`; the operator leaves a job
    of another controller alone. Cannot be changed."""


class TrainingJob(WireModel):
    """A training job: a number of pods that start together, find each other, and end as one."""

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
    """The ranks to run, and how long and how often to try."""

    status: TrainingJobStatus | None = None
    """What the operator has observed and decided. Written by the operator alone."""
