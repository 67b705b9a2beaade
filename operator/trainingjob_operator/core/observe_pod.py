"""Converts a raw pod from the API server into a `PodView`, with the fields that decisions need."""

from datetime import datetime, timedelta
from typing import Any

from trainingjob_api.constants import (
    ANNOTATION_MAIN_CONTAINER,
    ANNOTATION_TEMPLATE_HASH,
    KIND_TRAINING_JOB,
    LABEL_ATTEMPT,
    LABEL_INDEX,
    LABEL_JOB_NAME,
    MAIN_CONTAINER,
    REASON_SCHEDULING_GATED,
    REASON_UNSCHEDULABLE,
)
from trainingjob_operator.core.message_text import one_line
from trainingjob_operator.core.pod import LONG_TEXT, TERMINAL, ContainerExit, PodPhase, PodView
from trainingjob_operator.core.pod_end import (
    Containers,
    PodEnd,
    failed_beside,
    has_run,
    is_rejected,
    rank_end,
    read_containers,
    reason_of,
    side_containers,
    terminated,
)
from trainingjob_operator.core.untyped_json import (
    as_dict,
    as_dicts,
    as_int,
    as_str,
    as_strs,
    as_time,
    intern_text,
    intern_value,
)

_DISRUPTED = "DisruptionTarget"
_MAX_CONDITIONS = 32
_MAX_GRACE_S = 2**31 - 1
_MAX_NAME = 63
"""Maximum length of a container's name, which is a DNS label."""
_MAX_NODE = 253
"""Maximum length of a node's name, which is a DNS subdomain."""
_MAX_TYPE = 317
"""Maximum length of a condition's type, which is a qualified name."""


def pod_view(raw: dict[str, Any]) -> PodView | None:
    """Convert a pod; None if it is not a rank of a TrainingJob, by its labels and its controller.

    Anybody can set labels. The controller reference tells which job owns the pod.
    """
    metadata = as_dict(raw.get("metadata"))
    labels = as_dict(metadata.get("labels"))
    owner_uid = _controller_uid(metadata)
    try:
        attempt, index = (int(as_str(labels.get(name))) for name in (LABEL_ATTEMPT, LABEL_INDEX))
    except ValueError:
        return None
    if not owner_uid or not as_str(labels.get(LABEL_JOB_NAME)):
        return None
    status, spec = as_dict(raw.get("status")), as_dict(raw.get("spec"))
    annotations = as_dict(metadata.get("annotations"))
    main = _main_container(spec, annotations)
    containers = read_containers(spec, status, main)
    conditions = as_dicts(status.get("conditions"))[:_MAX_CONDITIONS]
    phase = _phase(status)
    end = rank_end(phase, status, containers)
    rejected = is_rejected(phase, status, containers)
    # Read from the spec: the scheduler updates its condition some time after the gates are removed.
    gated = bool(as_dicts(spec.get("schedulingGates")))
    waiting_reason, waiting_message = (
        (REASON_SCHEDULING_GATED, _gates(spec))
        if gated
        else _waiting(containers.initial + containers.regular)
    )
    return PodView(
        namespace=intern_text(metadata.get("namespace")),
        name=as_str(metadata.get("name")),
        uid=as_str(metadata.get("uid")),
        resource_version=as_str(metadata.get("resourceVersion")),
        job_name=intern_text(labels.get(LABEL_JOB_NAME)),
        owner_uid=owner_uid,
        attempt=attempt,
        index=index,
        phase=phase,
        ready=_condition(conditions, "Ready").get("status") == "True",
        deleting="deletionTimestamp" in metadata,
        node=intern_text(one_line(as_str(spec.get("nodeName")), _MAX_NODE)),
        held_by=_held_by(phase, metadata, spec, status),
        grace_s=_grace(metadata),
        stop_requested_at=_stop_requested_at(metadata, conditions),
        disruption=_disruption(conditions),
        rejected=rejected,
        waiting_reason=waiting_reason,
        waiting_message=waiting_message,
        unschedulable=_unschedulable(conditions),
        gated=gated,
        template_hash=intern_text(annotations.get(ANNOTATION_TEMPLATE_HASH)),
        container=main,
        has_begun=not rejected and _has_begun(phase, containers.regular, main),
        **(_end_fields(phase, end, containers, conditions) if end is not None else {}),
    )


def _end_fields(
    phase: PodPhase, end: PodEnd, containers: Containers, conditions: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the fields of a view that describe the end of its rank."""
    fields: dict[str, Any] = {"finished_at": end.finished_at, "exit_code": end.exit_code}
    if phase not in TERMINAL:
        fields["side_containers"] = intern_value(side_containers(containers))
    if _condition(conditions, _DISRUPTED).get("status") == "True" or end.exit_code != 0:
        fields["conditions"] = intern_value(_pairs(conditions))
    if phase is PodPhase.SUCCEEDED:
        return fields
    if end.exit_code != 0:
        fields |= {"reason": end.reason, "message": end.message, "failed_in": end.container}
        fields["exits"] = intern_value(_exits(containers.all))
    if phase is PodPhase.FAILED or end.exit_code != 0:
        fields["failed_beside"] = intern_value(failed_beside(containers))
    return fields


def _main_container(spec: dict[str, Any], annotations: dict[str, Any]) -> str:
    """Return the name of the main container, whose exit code and log count for the rank.

    An annotation holds its name, because admission webhooks may insert containers anywhere. Without
    a valid annotation it is the container called `trainer`, or else the first one.
    """
    names = [intern_text(container.get("name")) for container in as_dicts(spec.get("containers"))]
    for name in (intern_text(annotations.get(ANNOTATION_MAIN_CONTAINER)), MAIN_CONTAINER):
        if name in names:
            return name
    return next(iter(names), "")


def _controller_uid(metadata: dict[str, Any]) -> str:
    for reference in as_dicts(metadata.get("ownerReferences")):
        if reference.get("controller") is True and reference.get("kind") == KIND_TRAINING_JOB:
            return intern_text(reference.get("uid"))
    return ""


def _grace(metadata: dict[str, Any]) -> int | None:
    if "deletionTimestamp" not in metadata:
        return None
    return min(max(as_int(metadata.get("deletionGracePeriodSeconds")), 0), _MAX_GRACE_S)


def _held_by(
    phase: PodPhase, metadata: dict[str, Any], spec: dict[str, Any], status: dict[str, Any]
) -> str:
    """Return the finalizers of a deleted pod in which nothing runs any more; "" for other pods.

    Such a pod is not scheduled to a node any more, and none of its containers is restarted.
    """
    finalizers = ", ".join(as_strs(metadata.get("finalizers")))
    if not finalizers or "deletionTimestamp" not in metadata:
        return ""
    if spec.get("nodeName") and phase not in TERMINAL and not _all_ended(spec, status):
        return ""
    return intern_text(one_line(finalizers, LONG_TEXT))


def _all_ended(spec: dict[str, Any], status: dict[str, Any]) -> bool:
    """True if every container has ended, and no init container (native sidecar) is still running."""
    containers = as_dicts(status.get("containerStatuses"))
    beside = as_dicts(status.get("initContainerStatuses"))
    return (
        len(containers) == len(as_dicts(spec.get("containers")))
        and all(terminated(c) for c in containers)
        and not any("running" in as_dict(c.get("state")) for c in beside)
    )


def _phase(status: dict[str, Any]) -> PodPhase:
    try:
        return PodPhase(status.get("phase", PodPhase.PENDING))
    except ValueError:
        return PodPhase.UNKNOWN


def _condition(conditions: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next((c for c in conditions if c.get("type") == kind), {})


def _stop_requested_at(
    metadata: dict[str, Any], conditions: list[dict[str, Any]]
) -> datetime | None:
    """Return when the pod's deletion was requested or its disruption announced, whichever is earlier.

    `deletionTimestamp` is the end of the grace period, not its beginning.
    """
    times = []
    if ends := as_time(metadata.get("deletionTimestamp")):
        times.append(ends - timedelta(seconds=_grace(metadata) or 0))
    target = _condition(conditions, _DISRUPTED)
    announced = as_time(target.get("lastTransitionTime"))
    if target.get("status") == "True" and announced:
        times.append(announced)
    return min(times, default=None)


def _has_begun(phase: PodPhase, containers: list[dict[str, Any]], main: str) -> bool:
    """True if the main container has run, so that it has a log; also true if that is not certain.

    The phase alone is not enough: a pod is Pending until all of its containers have started, even
    while the main one runs.
    """
    found = next((c for c in containers if c.get("name") == main), None)
    if found is None:
        return phase is not PodPhase.PENDING
    return has_run(found)


def _exits(containers: list[dict[str, Any]]) -> tuple[ContainerExit, ...]:
    return tuple(
        intern_value(
            ContainerExit(
                container=intern_text(c.get("name"))[:_MAX_NAME],
                exit_code=as_int(ended.get("exitCode")),
            )
        )
        for c in containers
        if (ended := terminated(c))
    )


def _pairs(conditions: list[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
    return tuple(
        intern_value(
            (intern_text(c.get("type"))[:_MAX_TYPE], intern_text(c.get("status"))[:_MAX_NAME])
        )
        for c in conditions
    )


def _disruption(conditions: list[dict[str, Any]]) -> str:
    """Return the reason of the pod's disruption; "" if it was not disrupted.

    Only the condition counts. `status.reason: Evicted` is also set for a pod that exceeded its own
    storage limit, which is not a disruption.
    """
    target = _condition(conditions, _DISRUPTED)
    if target.get("status") == "True":
        return reason_of(target) or _DISRUPTED
    return ""


def _waiting(containers: list[dict[str, Any]]) -> tuple[str, str]:
    for container in containers:
        waiting = as_dict(as_dict(container.get("state")).get("waiting"))
        reason = reason_of(waiting)
        if reason not in {"", "PodInitializing", "ContainerCreating"}:
            return reason, one_line(as_str(waiting.get("message")))
    return "", ""


def _gates(spec: dict[str, Any]) -> str:
    """Return a message that names the pod's scheduling gates."""
    names = ", ".join(as_str(gate.get("name")) for gate in as_dicts(spec.get("schedulingGates")))
    return one_line(f"gates {names}: the pod is not scheduled before they are removed")


def _unschedulable(conditions: list[dict[str, Any]]) -> str:
    scheduled = _condition(conditions, "PodScheduled")
    if scheduled.get("status") != "False" or scheduled.get("reason") != REASON_UNSCHEDULABLE:
        return ""
    return one_line(as_str(scheduled.get("message"))) or "no node fits"
