"""Defines the columns and cells of `kubectl get` for the built-in kinds."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from trainingjob_sandbox.apiserver.clock import age
from trainingjob_sandbox.apiserver.resources import Column
from trainingjob_sandbox.apiserver.storage import CollectionId

Obj = Mapping[str, Any]
Cells = list[Any]
Printer = Callable[[Obj, datetime], Cells]

_NONE: Final = "<none>"
_AGE: Final = Column("Age", description="How long ago the object was created.")
NAME: Final = Column("Name", description="The object's name, unique within its namespace.")


def _columns(*names: str, wide: tuple[str, ...] = ()) -> tuple[Column, ...]:
    return (
        *(Column(name) for name in names),
        *(Column(name, priority=1) for name in wide),
    )


def _created(obj: Obj, now: datetime) -> str:
    return age(obj["metadata"].get("creationTimestamp"), now)


def _plain(obj: Obj, now: datetime) -> Cells:
    return [_created(obj, now)]


# --- pods ----------------------------------------------------------------------------------------


def pod_status(pod: Obj) -> str:
    """Return the value of the column STATUS of a pod."""
    status = pod.get("status") or {}
    word = _main_reason(status, status.get("reason") or status.get("phase") or "Unknown")
    initialising = _init_reason(pod, status)
    if initialising:
        word = initialising
    if pod["metadata"].get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return str(word)


def _main_reason(status: Obj, word: str) -> str:
    containers = status.get("containerStatuses") or []
    for container in reversed(containers):
        state = container.get("state") or {}
        waiting, terminated = state.get("waiting") or {}, state.get("terminated")
        if waiting.get("reason"):
            word = waiting["reason"]
        elif terminated is not None:
            word = _ended(terminated)
    if word == "Completed" and any(_runs(container) for container in containers):
        return "Running"
    return word


def _init_reason(pod: Obj, status: Obj) -> str:
    states = status.get("initContainerStatuses") or []
    total = len((pod.get("spec") or {}).get("initContainers") or [])
    for index, container in enumerate(states):
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting") or {}
        if terminated is not None and terminated.get("exitCode", 0) == 0:
            continue
        if terminated is not None:
            return f"Init:{_ended(terminated)}"
        if waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}"
        return f"Init:{index}/{total}"
    return ""


def _ended(terminated: Obj) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _runs(container: Obj) -> bool:
    return bool(container.get("ready") and "running" in (container.get("state") or {}))


def _pod(pod: Obj, now: datetime) -> Cells:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    containers = status.get("containerStatuses") or []
    return [
        f"{sum(map(_runs, containers))}/{len(spec.get('containers') or [])}",
        pod_status(pod),
        _restarts(containers, now),
        _created(pod, now),
        status.get("podIP") or _NONE,
        spec.get("nodeName") or _NONE,
        status.get("nominatedNodeName") or _NONE,
        _NONE,
    ]


def _restarts(containers: list[Any], now: datetime) -> str:
    count = sum(container.get("restartCount", 0) for container in containers)
    ends = [
        ((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt", "")
        for container in containers
    ]
    last = max(ends, default="")
    return f"{count} ({age(last, now)} ago)" if count and last else str(count)


# --- the others ----------------------------------------------------------------------------------


def _namespace(obj: Obj, now: datetime) -> Cells:
    return [(obj.get("status") or {}).get("phase", ""), _created(obj, now)]


def _node(node: Obj, now: datetime) -> Cells:
    status, spec = node.get("status") or {}, node.get("spec") or {}
    ready = [c for c in status.get("conditions") or [] if c.get("type") == "Ready"]
    word = "Unknown"
    if ready:
        word = "Ready" if ready[0].get("status") == "True" else "NotReady"
    if spec.get("unschedulable"):
        word += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    labels = node["metadata"].get("labels") or {}
    roles = sorted(label.removeprefix(prefix) for label in labels if label.startswith(prefix))
    addresses = {item["type"]: item["address"] for item in status.get("addresses") or []}
    info = status.get("nodeInfo") or {}
    return [
        word,
        ",".join(roles) or _NONE,
        _created(node, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", _NONE),
        addresses.get("ExternalIP", _NONE),
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def _event(event: Obj, now: datetime) -> Cells:
    about = event.get("involvedObject") or {}
    source = event.get("source") or {}
    made = event.get("eventTime") or event["metadata"].get("creationTimestamp")
    first = event.get("firstTimestamp") or made
    series = event.get("series") or {}
    last = series.get("lastObservedTime") or event.get("lastTimestamp") or first
    component = source.get("component") or event.get("reportingComponent") or ""
    host = source.get("host") or event.get("reportingInstance") or ""
    return [
        age(last, now),
        event.get("type", ""),
        event.get("reason", ""),
        f"{about.get('kind', '').lower()}/{about.get('name', '')}",
        about.get("fieldPath", ""),
        f"{component}, {host}" if host else component,
        str(event.get("message", "")).strip(),
        age(first, now),
        series.get("count") or event.get("count") or 1,
        event["metadata"]["name"],
    ]


def _config_map(obj: Obj, now: datetime) -> Cells:
    return [len(obj.get("data") or {}) + len(obj.get("binaryData") or {}), _created(obj, now)]


def _secret(obj: Obj, now: datetime) -> Cells:
    return [obj.get("type") or "Opaque", len(obj.get("data") or {}), _created(obj, now)]


def _service(service: Obj, now: datetime) -> Cells:
    spec = service.get("spec") or {}
    ports = [
        f"{port.get('port')}/{port.get('protocol', 'TCP')}" for port in spec.get("ports") or []
    ]
    selector = [f"{key}={value}" for key, value in sorted((spec.get("selector") or {}).items())]
    return [
        spec.get("type", "ClusterIP"),
        spec.get("clusterIP") or _NONE,
        ",".join(spec.get("externalIPs") or []) or _NONE,
        ",".join(ports) or _NONE,
        _created(service, now),
        ",".join(selector) or _NONE,
    ]


def _claim(claim: Obj, now: datetime) -> Cells:
    spec, status = claim.get("spec") or {}, claim.get("status") or {}
    return [
        status.get("phase", ""),
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", ""),
        ",".join(status.get("accessModes") or []),
        spec.get("storageClassName", ""),
        _created(claim, now),
        spec.get("volumeMode") or "Filesystem",
    ]


def _quota(quota: Obj, now: datetime) -> Cells:
    status = quota.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    pairs = [f"{name}: {used.get(name, '0')}/{hard[name]}" for name in sorted(hard)]
    return [", ".join(pairs), "", _created(quota, now)]


def _lease(lease: Obj, now: datetime) -> Cells:
    return [(lease.get("spec") or {}).get("holderIdentity", ""), _created(lease, now)]


def _crd(crd: Obj, now: datetime) -> Cells:
    spec = crd["spec"]
    versions = [
        version["name"] + ("(storage)" if version.get("storage") else "")
        for version in spec["versions"]
    ]
    return [
        spec["scope"],
        ",".join(versions),
        crd["metadata"].get("creationTimestamp"),
        spec["group"],
        spec["names"]["kind"],
        ",".join(spec["names"].get("shortNames") or []),
    ]


_WIDE_POD: Final = ("IP", "Node", "Nominated Node", "Readiness Gates")
_WIDE_NODE: Final = (
    "Internal-IP",
    "External-IP",
    "OS-Image",
    "Kernel-Version",
    "Container-Runtime",
)
_EVENT_COLUMNS: Final = (
    *_columns("Last Seen", "Type", "Reason", "Object", wide=("Subobject", "Source")),
    *_columns("Message", wide=("First Seen", "Count")),
    Column("Name", priority=1),
)

PRINTERS: Final[Mapping[CollectionId, tuple[tuple[Column, ...], Printer]]] = {
    CollectionId("", "pods"): (
        _columns("Ready", "Status", "Restarts", "Age", wide=_WIDE_POD),
        _pod,
    ),
    CollectionId("", "namespaces"): (_columns("Status", "Age"), _namespace),
    CollectionId("", "nodes"): (
        _columns("Status", "Roles", "Age", "Version", wide=_WIDE_NODE),
        _node,
    ),
    CollectionId("", "events"): (_EVENT_COLUMNS, _event),
    CollectionId("", "configmaps"): (_columns("Data", "Age"), _config_map),
    CollectionId("", "secrets"): (_columns("Type", "Data", "Age"), _secret),
    CollectionId("", "services"): (
        _columns("Type", "Cluster-IP", "External-IP", "Port(s)", "Age", wide=("Selector",)),
        _service,
    ),
    CollectionId("", "persistentvolumeclaims"): (
        _columns(
            "Status",
            "Volume",
            "Capacity",
            "Access Modes",
            "StorageClass",
            "Age",
            wide=("VolumeMode",),
        ),
        _claim,
    ),
    CollectionId("", "resourcequotas"): (_columns("Request", "Limit", "Age"), _quota),
    CollectionId("coordination.k8s.io", "leases"): (_columns("Holder", "Age"), _lease),
    CollectionId("apiextensions.k8s.io", "customresourcedefinitions"): (
        (
            *_columns("Scope", "Versions"),
            Column("Created At", "date"),
            *_columns(wide=("Group", "Kind", "ShortNames")),
        ),
        _crd,
    ),
}
"""The columns after Name (for events: all columns), and the function that returns their cells."""

PLAIN: Final[tuple[tuple[Column, ...], Printer]] = ((_AGE,), _plain)
