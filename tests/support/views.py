"""Builds views of jobs and pods, with defaults for what a test does not set.

Times are given in seconds after `NOW`, the moment at which tests decide.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from tests.support.clock import START
from trainingjob_operator.core.decision import DecisionSettings, Observation, Plan
from trainingjob_operator.core.job import Condition, JobKey, JobSpec, JobStatus, JobView, Shutdown
from trainingjob_operator.core.naming import pod_name
from trainingjob_operator.core.plan import plan
from trainingjob_operator.core.pod import ContainerExit, PodPhase, PodView

NOW: Final = START
UID: Final = "11111111-aaaa-4bbb-8ccc-222222222222"
KEY: Final = JobKey("ml", "mnist")
CREATED_S: Final = -3600
POLICY: Final = DecisionSettings(restart_backoff_s=1.0, restart_backoff_cap_s=60.0)


def at(seconds: float) -> datetime:
    """Return the time this many seconds after `NOW`."""
    return NOW + timedelta(seconds=seconds)


def make_condition(
    kind: str,
    *,
    status: bool = True,
    reason: str = "Test",
    message: str = "",
    since_s: float = -60,
) -> Condition:
    """A condition that changed a minute ago."""
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=at(since_s),
        observed_generation=1,
    )


def make_shutdown(mode: str = "Stop", *, by: str = "kubectl") -> Shutdown:
    """A shutdown that was latched a minute ago."""
    return Shutdown(mode=mode, requested_at=at(-60), requested_by=by)


def make_status(*conditions: Condition, **fields: Any) -> JobStatus:
    """A status with these conditions; all other fields as before the first write."""
    return JobStatus(conditions=conditions, **fields)


_VIEW_FIELDS: Final[dict[str, Any]] = {
    "key": KEY,
    "uid": UID,
    "resource_version": "100",
    "generation": 1,
    "created_at": at(CREATED_S),
}


def make_view(status: JobStatus | None = None, *, nodes: int = 1, **fields: Any) -> JobView:
    """A job that was created an hour ago.

    Args:
        status: its status; None: nothing was written yet.
        nodes: `spec.numNodes`.
        **fields: fields of JobView or of JobSpec, by name.
    """
    known = {name: fields.pop(name) for name in tuple(fields) if name in JobView.__slots__}
    spec = JobSpec(num_nodes=nodes, **fields)
    return JobView(spec=spec, status=status or JobStatus(), **_VIEW_FIELDS | known)


def make_pod(
    index: int = 0, phase: PodPhase = PodPhase.RUNNING, *, attempt: int = 0, **fields: Any
) -> PodView:
    """A pod of the job of `make_view`; it is ready if it runs."""
    name = pod_name(KEY.name, UID, attempt, index)
    defaults: dict[str, Any] = {
        "namespace": KEY.namespace,
        "name": name,
        "uid": f"uid-of-{name}",
        "resource_version": "200",
        "job_name": KEY.name,
        "owner_uid": UID,
        "ready": phase is PodPhase.RUNNING,
    }
    return PodView(attempt=attempt, index=index, phase=phase, **defaults | fields)


def pending(index: int = 0, **fields: Any) -> PodView:
    """A pod that has not started."""
    return make_pod(index, PodPhase.PENDING, **{"has_begun": False} | fields)


def succeeded(index: int = 0, **fields: Any) -> PodView:
    """A pod that completed ten seconds ago."""
    defaults: dict[str, Any] = {"exit_code": 0, "finished_at": at(-10)}
    return make_pod(index, PodPhase.SUCCEEDED, **defaults | fields)


def failed(index: int = 0, code: int = 1, **fields: Any) -> PodView:
    """A pod whose trainer exited with this code ten seconds ago."""
    defaults: dict[str, Any] = {
        "exit_code": code,
        "exits": (ContainerExit(container="trainer", exit_code=code),),
        "finished_at": at(-10),
    }
    return make_pod(index, PodPhase.FAILED, **defaults | fields)


def deleting(pod: PodView, *, grace_s: int = 30, since_s: float = -5) -> PodView:
    """The pod with its deletion requested five seconds ago."""
    return replace(pod, deleting=True, grace_s=grace_s, stop_requested_at=at(since_s))


def disrupted(
    pod: PodView, reason: str = "EvictionByEvictionAPI", *, since_s: float = -5
) -> PodView:
    """The pod with a `DisruptionTarget` announced five seconds ago."""
    conditions = (*pod.conditions, ("DisruptionTarget", "True"))
    return replace(pod, disruption=reason, stop_requested_at=at(since_s), conditions=conditions)


def decide(
    job: JobView,
    *pods: PodView,
    now: datetime = NOW,
    policy: DecisionSettings = POLICY,
    **seen: Any,
) -> Plan:
    """Return the plan for this job with these pods; `seen` are further fields of Observation."""
    return plan(Observation(job=job, pods=pods, **seen), policy, now=now)


def deleted_names(decided: Plan) -> set[str]:
    """Return the names of the pods that the plan deletes."""
    return {victim.name for victim in decided.delete}
