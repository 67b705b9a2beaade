"""From a pod as the API server sends it to the few facts that decisions are made of."""

from datetime import datetime, timedelta
from typing import Any

from trainingjob_operator.constants import (
    ANNOTATION_MAIN_CONTAINER,
    ANNOTATION_TEMPLATE_HASH,
    KIND_TRAINING_JOB,
    LABEL_ATTEMPT,
    LABEL_INDEX,
    LABEL_JOB_NAME,
    MAIN_CONTAINER,
    REASON_UNSCHEDULABLE,
)
from trainingjob_operator.core.pod import ContainerExit, PodPhase, PodView
from trainingjob_operator.core.rawread import (
    items,
    mapping,
    one_of_equals,
    shared_text,
    text,
    time,
    whole,
)
from trainingjob_operator.core.text import one_line

_MAX_CONDITIONS = 32
_MAX_CONTAINERS = 32
_MAX_GRACE_S = 2**31 - 1
_MAX_REASON_BYTES = 128
_MAX_NAME = 63
"""Characters of a container's name, which is a DNS label."""
_MAX_TYPE = 317
"""Characters of a condition's type, which is a qualified name."""


def pod_view(raw: dict[str, Any]) -> PodView | None:
    """Read a pod; None if it is no rank of a TrainingJob (its labels or its owner are not ours).

    Labels can be set by anybody. Whose pod it is, its controller reference says.
    """
    metadata = mapping(raw.get("metadata"))
    labels = mapping(metadata.get("labels"))
    owner_uid = _controller_uid(metadata)
    try:
        attempt, index = (int(text(labels.get(name))) for name in (LABEL_ATTEMPT, LABEL_INDEX))
    except ValueError:
        return None
    if not owner_uid or not text(labels.get(LABEL_JOB_NAME)):
        return None
    status = mapping(raw.get("status"))
    annotations = mapping(metadata.get("annotations"))
    main = _main_container(mapping(raw.get("spec")), annotations)
    containers = _main_first(items(status.get("containerStatuses")), main)[:_MAX_CONTAINERS]
    initial = items(status.get("initContainerStatuses"))[:_MAX_CONTAINERS]
    conditions = items(status.get("conditions"))[:_MAX_CONDITIONS]
    phase = _phase(status)
    exits = _exits(initial + containers)
    reason, message = _why(status, containers + initial) if phase is PodPhase.FAILED else ("", "")
    waiting_reason, waiting_message = _waiting(initial + containers)
    return PodView(
        namespace=shared_text(metadata.get("namespace")),
        name=text(metadata.get("name")),
        uid=text(metadata.get("uid")),
        resource_version=text(metadata.get("resourceVersion")),
        job_name=shared_text(labels.get(LABEL_JOB_NAME)),
        owner_uid=owner_uid,
        attempt=attempt,
        index=index,
        phase=phase,
        ready=_condition(conditions, "Ready").get("status") == "True",
        deleting="deletionTimestamp" in metadata,
        grace_s=_grace(metadata),
        stop_requested_at=_stop_requested_at(metadata, conditions),
        finished_at=_finished_at(containers, initial) if phase in _TERMINAL else None,
        disruption=_disruption(status, conditions),
        exit_code=_exit_code(phase, _exits(containers + initial)),
        exits=one_of_equals(exits) if phase is PodPhase.FAILED else (),
        reason=reason,
        message=message,
        waiting_reason=waiting_reason,
        waiting_message=waiting_message,
        unschedulable=_unschedulable(conditions),
        conditions=one_of_equals(_pairs(conditions)) if phase is PodPhase.FAILED else (),
        template_hash=shared_text(annotations.get(ANNOTATION_TEMPLATE_HASH)),
        container=main,
        has_begun=_has_begun(phase, containers, main),
        failed_in=_failed_in(containers, initial, main) if phase is PodPhase.FAILED else "",
        failed_beside=_failed_beside(initial + containers, main)
        if phase is PodPhase.FAILED
        else (),
    )


_TERMINAL = frozenset({PodPhase.SUCCEEDED, PodPhase.FAILED})


def _main_container(spec: dict[str, Any], annotations: dict[str, Any]) -> str:
    """Return the name of the container whose exit and log are the rank's.

    The template says which one it is, and the pod remembers it: admission puts its own containers
    wherever it likes. A pod that remembers none, or one that it does not have, has the container
    called `trainer`, or else the first one.
    """
    names = [shared_text(container.get("name")) for container in items(spec.get("containers"))]
    for name in (shared_text(annotations.get(ANNOTATION_MAIN_CONTAINER)), MAIN_CONTAINER):
        if name in names:
            return name
    return next(iter(names), "")


def _main_first(containers: list[dict[str, Any]], main: str) -> list[dict[str, Any]]:
    """Return the containers with the main one in front, so that no limit and no search misses it."""
    return sorted(containers, key=lambda container: container.get("name") != main)


def _controller_uid(metadata: dict[str, Any]) -> str:
    for reference in items(metadata.get("ownerReferences")):
        if reference.get("controller") is True and reference.get("kind") == KIND_TRAINING_JOB:
            return shared_text(reference.get("uid"))
    return ""


def _grace(metadata: dict[str, Any]) -> int | None:
    if "deletionTimestamp" not in metadata:
        return None
    return min(max(whole(metadata.get("deletionGracePeriodSeconds")), 0), _MAX_GRACE_S)


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
    """The earlier of the deletion's request and the disruption's announcement.

    `deletionTimestamp` is when the grace period ends, not when it began.
    """
    times = []
    if ends := time(metadata.get("deletionTimestamp")):
        times.append(ends - timedelta(seconds=_grace(metadata) or 0))
    target = _condition(conditions, "DisruptionTarget")
    announced = time(target.get("lastTransitionTime"))
    if target.get("status") == "True" and announced:
        times.append(announced)
    return min(times, default=None)


def _finished_at(
    containers: list[dict[str, Any]], initial: list[dict[str, Any]]
) -> datetime | None:
    """Return when the last container ended; of a pod that never came to them, the last before."""
    for these in (containers, initial):
        ends = (time(_terminated(c).get("finishedAt")) for c in these)
        if (last := max((end for end in ends if end is not None), default=None)) is not None:
            return last
    return None


def _has_begun(phase: PodPhase, containers: list[dict[str, Any]], main: str) -> bool:
    """True if the main container has run, so that it has a log; in doubt of one that may have."""
    if phase is PodPhase.PENDING:
        return False
    found = next((c for c in containers if c.get("name") == main), None)
    if found is None:
        return True
    states = (mapping(found.get("state")), mapping(found.get("lastState")))
    return any("running" in state or "terminated" in state for state in states)


def _failed_in(containers: list[dict[str, Any]], initial: list[dict[str, Any]], main: str) -> str:
    """Return which container the exit code is of, in words; "" if it is the main one."""
    kinds = ((containers, "container"), (initial, "init container"))
    for these, kind in kinds:
        for container in these:
            if whole(_terminated(container).get("exitCode")):
                name = shared_text(container.get("name"))
                return "" if name == main else shared_text(f"{kind} {name}")
    return ""


def _failed_beside(containers: list[dict[str, Any]], main: str) -> tuple[str, ...]:
    """Return the names of the containers that failed, but for the main one."""
    failed = (c for c in containers if whole(_terminated(c).get("exitCode")))
    return one_of_equals(
        tuple(name for c in failed if (name := shared_text(c.get("name"))) != main)
    )


def _terminated(container: dict[str, Any]) -> dict[str, Any]:
    return mapping(mapping(container.get("state")).get("terminated"))


def _exits(containers: list[dict[str, Any]]) -> tuple[ContainerExit, ...]:
    return tuple(
        one_of_equals(
            ContainerExit(
                container=shared_text(c.get("name"))[:_MAX_NAME],
                exit_code=whole(ended.get("exitCode")),
            )
        )
        for c in containers
        if (ended := _terminated(c))
    )


def _pairs(conditions: list[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
    return tuple(
        one_of_equals(
            (shared_text(c.get("type"))[:_MAX_TYPE], shared_text(c.get("status"))[:_MAX_NAME])
        )
        for c in conditions
    )


def _exit_code(phase: PodPhase, exits: tuple[ContainerExit, ...]) -> int | None:
    """The main container's exit code, unless another one's failure is why the pod failed.

    A sidecar may end with any code once the main container has succeeded. The main container's
    exit comes first in `exits`.
    """
    if phase not in _TERMINAL or not exits:
        return None
    if phase is PodPhase.SUCCEEDED:
        return 0
    return next((end.exit_code for end in exits if end.exit_code), 0)


def _disruption(status: dict[str, Any], conditions: list[dict[str, Any]]) -> str:
    """Why the cluster took the pod away: a reason, or "" if it did not.

    Pods evicted by a kubelet under pressure carry only the reason `Evicted` on old nodes.
    """
    target = _condition(conditions, "DisruptionTarget")
    if target.get("status") == "True":
        return _word(target.get("reason")) or "DisruptionTarget"
    reason = text(status.get("reason"))
    return reason if reason in {"Evicted", "NodeLost", "NodeShutdown", "Shutdown"} else ""


def _why(status: dict[str, Any], containers: list[dict[str, Any]]) -> tuple[str, str]:
    """Reason and message of a failed pod: its own words first, else those of what failed in it."""
    if text(status.get("reason")):
        return _word(status["reason"]), one_line(text(status.get("message")))
    for container in containers:
        ended = _terminated(container)
        if whole(ended.get("exitCode")):
            return _word(ended.get("reason")), one_line(text(ended.get("message")))
    return "", one_line(text(status.get("message")))


def _waiting(containers: list[dict[str, Any]]) -> tuple[str, str]:
    for container in containers:
        waiting = mapping(mapping(container.get("state")).get("waiting"))
        reason = _word(waiting.get("reason"))
        if reason not in {"", "PodInitializing", "ContainerCreating"}:
            return reason, one_line(text(waiting.get("message")))
    return "", ""


def _unschedulable(conditions: list[dict[str, Any]]) -> str:
    scheduled = _condition(conditions, "PodScheduled")
    if scheduled.get("status") != "False" or scheduled.get("reason") != REASON_UNSCHEDULABLE:
        return ""
    return one_line(text(scheduled.get("message"))) or "no node fits"


def _word(value: object) -> str:
    """A reason. Nothing checks the one of a container; it goes into our messages all the same."""
    return shared_text(one_line(text(value), _MAX_REASON_BYTES))
