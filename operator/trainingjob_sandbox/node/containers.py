"""Computes a pod's status (phase, conditions, container statuses) from its containers' states. No IO."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from trainingjob_sandbox.node.constants import LOOPBACK, Object

RestartPolicy = Literal["Never", "OnFailure", "Always"]
Phase = Literal["Pending", "Running", "Succeeded", "Failed"]

TERMINAL: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The termination of one run of a container."""

    exit_code: int
    reason: str
    message: str
    started_at: datetime | None
    finished_at: datetime
    container_id: str


@dataclass(slots=True, kw_only=True)
class Container:
    """The state of one container: its current or last run, and the termination of the run before.

    Attributes:
        name, image: from the pod's spec.
        init: True for an init container.
        sidecar: True for an init container with `restartPolicy: Always`, which keeps running beside
            all later containers.
        live: for a sidecar, True while it runs or may still be started.
        waiting: reason and message while it does not run; else None.
        started_at, ended: start and termination of the last run.
        last: termination of the run before (`lastState`).
        restarts: the restart count.
        container_id: ID of the last run.
    """

    name: str
    image: str
    init: bool = False
    sidecar: bool = False
    live: bool = False
    waiting: tuple[str, str] | None = ("ContainerCreating", "")
    started_at: datetime | None = None
    ended: Ended | None = None
    last: Ended | None = None
    restarts: int = 0
    container_id: str = ""

    @property
    def running(self) -> bool:
        """True while it runs."""
        return self.waiting is None and self.ended is None

    @property
    def succeeded(self) -> bool:
        """True if the last run ended with exit code 0."""
        return self.ended is not None and self.ended.exit_code == 0

    @property
    def initialized(self) -> bool:
        """True if the containers after this init container may start."""
        return self.started_at is not None if self.sidecar else self.succeeded

    def started(self, at: datetime) -> None:
        """Record the start of a run."""
        self.restarts += 1 if self.last else 0
        self.waiting, self.started_at = None, at

    def crashed(self, back_off: str) -> None:
        """Record that the last run ended and the next one waits for the back-off."""
        self.last, self.ended = self.ended, None
        self.waiting = ("CrashLoopBackOff", back_off)

    def cancel_restart(self) -> None:
        """Make the previous termination the last one again, because no restart follows."""
        if self.last is not None and self.ended is None:
            self.ended, self.last, self.waiting = self.last, None, None

    def status(self) -> Object:
        """Return its entry in `containerStatuses`."""
        ready = self.succeeded if self.init and not self.sidecar else self.running
        status: Object = {
            "name": self.name,
            "image": self.image,
            "imageID": "",
            "ready": ready,
            "started": self.running,
            "restartCount": self.restarts,
            "state": self._state(),
            "lastState": {"terminated": _terminated(self.last)} if self.last else {},
        }
        if self.container_id:
            status["containerID"] = self.container_id
        return status

    def _state(self) -> Object:
        if self.waiting is not None:
            reason, message = self.waiting
            return {"waiting": {"reason": reason} | ({"message": message} if message else {})}
        if self.ended is not None:
            return {"terminated": _terminated(self.ended)}
        return {"running": {"startedAt": timestamp(self.started_at)}}


@dataclass(slots=True, kw_only=True)
class PodState:
    """The state of a pod on this node.

    Attributes:
        containers: the regular containers.
        init: the init containers.
        policy: the pod's restart policy.
        started_at: when the node started to run the pod.
        ip: its address; "" before it has one.
        reason: why the node terminated the pod, e.g. `DeadlineExceeded`; "" if it did not.
        message: message for `reason`.
        disruption: reason and message of the condition `DisruptionTarget`, if the node sets it.
    """

    containers: list[Container]
    init: list[Container]
    policy: RestartPolicy
    started_at: datetime
    ip: str = ""
    reason: str = ""
    message: str = ""
    disruption: tuple[str, str] | None = None
    stopping: bool = field(default=False)

    @property
    def initialized(self) -> bool:
        """True if every init container has succeeded, and every sidecar was started."""
        return all(container.initialized for container in self.init)

    def phase(self) -> Phase:
        """Return the pod's phase by the kubelet's rules: terminal only when its sidecars have ended."""
        phase = self._phase()
        if phase not in TERMINAL or not any(c.live for c in self.init):
            return phase
        return "Running" if self.initialized else "Pending"

    def _phase(self) -> Phase:
        if self.reason and not any(c.running for c in [*self.init, *self.containers]):
            return "Failed"
        if not self.initialized:
            last = next(c for c in self.init if not c.initialized)
            final = self.policy == "Never" or self.stopping
            return "Failed" if last.ended is not None and final else "Pending"
        if any(c.waiting is not None and c.last is None for c in self.containers):
            return "Pending"
        if all(c.ended is not None for c in self.containers):
            return self._phase_when_all_ended()
        return "Running"

    def _phase_when_all_ended(self) -> Phase:
        if self.policy == "Always" and not self.stopping:
            return "Running"
        if all(c.succeeded for c in self.containers):
            return "Succeeded"
        return "Failed" if self.policy == "Never" or self.stopping else "Running"

    def status(self, now: datetime, before: Object) -> Object:
        """Return the complete pod status.

        Args:
            now: the transition time of conditions that have changed.
            before: the status on the API server. Conditions of other writers are kept, and so are
                the transition times of unchanged conditions.
        """
        phase = self.phase()
        status: Object = {
            "phase": phase,
            "hostIP": LOOPBACK,
            "hostIPs": [{"ip": LOOPBACK}],
            "startTime": timestamp(self.started_at),
            "conditions": self._conditions(phase, now, before.get("conditions") or []),
            "containerStatuses": [c.status() for c in self.containers],
        }
        if self.ip:
            status |= {"podIP": self.ip, "podIPs": [{"ip": self.ip}]}
        if self.init:
            status["initContainerStatuses"] = [c.status() for c in self.init]
        if self.reason:
            status |= {"reason": self.reason, "message": self.message}
        return status

    def _conditions(self, phase: Phase, now: datetime, before: Iterable[Object]) -> list[Object]:
        done = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase, "")
        serving = [*(c for c in self.init if c.sidecar), *self.containers]
        unready = [c.name for c in serving if not c.running]
        why = done or "ContainersNotReady"
        message = "" if done else f"containers with unready status: [{' '.join(unready)}]"
        ready = not unready and phase == "Running"
        wanted = [
            _condition("PodScheduled", status=True),
            _condition(
                "Initialized",
                status=self.initialized,
                reason="" if self.initialized else "ContainersNotInitialized",
            ),
            _condition("ContainersReady", status=ready, reason=why, message=message),
            _condition("Ready", status=ready, reason=why, message=message),
        ]
        if self.disruption is not None:
            reason, text = self.disruption
            wanted.append(_condition("DisruptionTarget", status=True, reason=reason, message=text))
        return _merged(before, wanted, now)


def _condition(kind: str, *, status: bool, reason: str = "", message: str = "") -> Object:
    condition = {"type": kind, "status": "True" if status else "False"}
    # A true condition has no reason, except DisruptionTarget.
    if reason and (not status or kind == "DisruptionTarget"):
        condition |= {"reason": reason} | ({"message": message} if message else {})
    return condition


def _merged(before: Iterable[Object], wanted: Sequence[Object], now: datetime) -> list[Object]:
    known = {condition.get("type"): condition for condition in before}
    for condition in wanted:
        old: Any = known.get(condition["type"]) or {}
        same = old.get("status") == condition["status"] and old.get("lastTransitionTime")
        since = old["lastTransitionTime"] if same else timestamp(now)
        known[condition["type"]] = condition | {"lastTransitionTime": since}
    return list(known.values())


def timestamp(moment: datetime | None) -> str | None:
    """Format a time as Kubernetes does: RFC 3339 in UTC, whole seconds."""
    if moment is None:
        return None
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _terminated(ended: Ended) -> Object:
    state: Object = {
        "exitCode": ended.exit_code,
        "reason": ended.reason,
        "startedAt": timestamp(ended.started_at or ended.finished_at),
        "finishedAt": timestamp(ended.finished_at),
        "containerID": ended.container_id,
    }
    if ended.message:
        state["message"] = ended.message
    return state
