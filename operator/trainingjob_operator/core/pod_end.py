"""Determines how a pod's rank ended: the deciding container, its exit code, reason and message.

The main container decides; the exit codes of other containers do not matter. If it ends while its
pod still runs, it ended by itself. A kubelet that stops a pod reports the ends of all its containers
together, unless the API shows the cause before (a deletion, an announced disruption). If the main
container never ran, the cause decides: an init container, or the node, which sets the pod's
`status.reason`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from trainingjob_operator.core.message_text import one_line
from trainingjob_operator.core.pod import TERMINAL, PodPhase
from trainingjob_operator.core.untyped_json import (
    as_dict,
    as_dicts,
    as_int,
    as_str,
    as_time,
    intern_text,
)

Status = dict[str, Any]

_MAX_CONTAINERS: Final = 32
_MAX_REASON_BYTES: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Containers:
    """The statuses of a pod's containers.

    Attributes:
        main: the main container's name.
        regular: the containers, the main one first, so that the limit never drops it.
        initial: the init containers; native sidecars last, because they are stopped when another init
            container fails, so that their exit does not explain the failure.
        main_may_run_again: the kubelet may restart the main container, or all containers, so that its
            end is not final before the pod's.
    """

    main: str
    regular: list[Status]
    initial: list[Status]
    main_may_run_again: bool = False

    @property
    def all(self) -> list[Status]:
        """All containers in the order of their start: the init containers first."""
        return self.initial + self.regular


class PodEnd(NamedTuple):
    """The end of a rank. Exit code, reason and message are of one container, or of the whole pod.

    Attributes:
        exit_code: exit code of the deciding container; None without one.
        container: description of that container, such as `init container fetch`; "": the main one.
        finished_at: time at which the main container ended, or the last one if that never ran.
    """

    exit_code: int | None = None
    reason: str = ""
    message: str = ""
    container: str = ""
    finished_at: datetime | None = None


def read_containers(spec: dict[str, Any], status: dict[str, Any], main: str) -> Containers:
    """Read the containers of a pod, at most 32 of each kind."""
    raw = next((c for c in as_dicts(spec.get("containers")) if c.get("name") == main), {})
    native = {
        as_str(c.get("name"))
        for c in as_dicts(spec.get("initContainers"))
        if c.get("restartPolicy")
    }
    regular = as_dicts(status.get("containerStatuses"))
    initial = as_dicts(status.get("initContainerStatuses"))
    return Containers(
        main=main,
        regular=sorted(regular, key=lambda c: c.get("name") != main)[:_MAX_CONTAINERS],
        initial=sorted(initial, key=lambda c: as_str(c.get("name")) in native)[:_MAX_CONTAINERS],
        main_may_run_again=_restarts_alone(raw) or _restarts_all(spec),
    )


def rank_end(phase: PodPhase, status: dict[str, Any], containers: Containers) -> PodEnd | None:
    """Return how the rank of a pod ended; None while it has not.

    If the node ended the pod as a whole (deadline exceeded, storage limit exceeded, evicted), the
    pod's `status.reason` is set. Then the exit codes of its stopped containers, even 0, do not count.
    """
    main = _main_end(phase, containers)
    if phase not in TERMINAL and (main is None or as_str(status.get("reason"))):
        return None
    at = as_time(main.get("finishedAt")) if main else _last_end(containers)
    if phase is PodPhase.SUCCEEDED:
        return PodEnd(exit_code=0, finished_at=at)
    if phase is PodPhase.FAILED and as_str(status.get("reason")):
        why = one_line(as_str(status.get("message")))
        return PodEnd(reason=reason_of(status), message=why, finished_at=at)
    decider, called = _decider(containers)
    if decider is None:
        return PodEnd(message=one_line(as_str(status.get("message"))), finished_at=at)
    ended = terminated(decider)
    return PodEnd(
        exit_code=as_int(ended.get("exitCode")),
        reason=reason_of(ended),
        message=one_line(as_str(ended.get("message"))),
        container=called,
        finished_at=at,
    )


def _restarts_alone(container: dict[str, Any]) -> bool:
    own_policy = as_str(container.get("restartPolicy")) not in {"", "Never"}
    return own_policy or bool(as_dicts(container.get("restartPolicyRules")))


def _restarts_all(spec: dict[str, Any]) -> bool:
    """True if the end of a container can make the kubelet restart all containers of the pod."""
    every = as_dicts(spec.get("containers")) + as_dicts(spec.get("initContainers"))
    rules = (rule for c in every for rule in as_dicts(c.get("restartPolicyRules")))
    return any(rule.get("action") == "RestartAllContainers" for rule in rules)


def is_rejected(phase: PodPhase, status: dict[str, Any], containers: Containers) -> bool:
    """True if the kubelet rejected the pod before any of its containers ran.

    The kubelet checks again what the scheduler decided (`OutOfcpu`, `NodeAffinity`, pressure), and
    also what the scheduler does not know (devices: `UnexpectedAdmissionError`). A pod that exceeded
    its own deadline while it waited was not rejected.
    """
    own = as_str(status.get("reason"))
    if phase is not PodPhase.FAILED or not own or own == "DeadlineExceeded":
        return False
    return not any(has_run(container) for container in containers.all)


def has_run(container: Status) -> bool:
    """True if a container runs or has run."""
    states = (as_dict(container.get("state")), as_dict(container.get("lastState")))
    return any("running" in state or "terminated" in state for state in states)


def side_containers(containers: Containers) -> tuple[str, ...]:
    """Return the names of the containers other than the main one that have not ended.

    Native sidecars are not included: the kubelet stops them when all others have ended.
    """
    return tuple(
        intern_text(c.get("name"))
        for c in containers.regular
        if c.get("name") != containers.main and not terminated(c)
    )


def failed_beside(containers: Containers) -> tuple[str, ...]:
    """Return the names of the failed containers other than the main one."""
    failed = (c for c in containers.all if as_int(terminated(c).get("exitCode")))
    return tuple(name for c in failed if (name := intern_text(c.get("name"))) != containers.main)


def terminated(container: Status) -> dict[str, Any]:
    """Return `state.terminated` of a container; empty while it has not ended."""
    return as_dict(as_dict(container.get("state")).get("terminated"))


def reason_of(raw: dict[str, Any]) -> str:
    """Return a reason, made safe for messages: nothing validates the reason of a container."""
    return intern_text(one_line(as_str(raw.get("reason")), _MAX_REASON_BYTES))


def _main_end(phase: PodPhase, containers: Containers) -> dict[str, Any] | None:
    found = next((c for c in containers.regular if c.get("name") == containers.main), {})
    ended = terminated(found)
    is_final = phase in TERMINAL or not containers.main_may_run_again
    return ended if ended and is_final else None


def _decider(containers: Containers) -> tuple[Status | None, str]:
    """Return the container that decides, and its description if it is not the main one."""
    for container in containers.regular:
        if container.get("name") == containers.main and terminated(container):
            return container, ""
    for these, kind in ((containers.initial, "init container"), (containers.regular, "container")):
        for container in these:
            if as_int(terminated(container).get("exitCode")):
                return container, intern_text(f"{kind} {as_str(container.get('name'))}")
    return None, ""


def _last_end(containers: Containers) -> datetime | None:
    """Return when the last container ended; if none did, when the last init container ended."""
    for these in (containers.regular, containers.initial):
        if (last := max(_ends(these), default=None)) is not None:
            return last
    return None


def _ends(containers: Iterable[Status]) -> Iterable[datetime]:
    ends = (as_time(terminated(container).get("finishedAt")) for container in containers)
    return (end for end in ends if end is not None)
