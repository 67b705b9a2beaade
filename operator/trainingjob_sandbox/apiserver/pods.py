"""The strategies of Pods and PodTemplates: decoding, defaults, validation, graceful deletion."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from trainingjob_sandbox.apiserver.clock import now, timestamp
from trainingjob_sandbox.apiserver.errors import (
    ApiError,
    Cause,
    bad_request,
    duplicate,
    forbidden_field,
    invalid_value,
    missing_reference,
    required,
    unsupported,
)
from trainingjob_sandbox.apiserver.names import check_label_name
from trainingjob_sandbox.apiserver.resources import Strategy, copy_json
from trainingjob_sandbox.apiserver.storage import JsonObject

FINISHED_PHASES: Final = ("Succeeded", "Failed")
RESTART_POLICIES: Final = ("Always", "OnFailure", "Never")
DEFAULT_GRACE_S: Final = 30

_CONTAINER_LISTS: Final = ("initContainers", "containers")
_UPDATABLE: Final = frozenset({"activeDeadlineSeconds", "schedulingGates", "tolerations"})
_GATED: Final = "Scheduling is blocked due to non-empty scheduling gates"
_UPDATE_REFUSED: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
    "(only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
    "(allow it to be set to 1 if it was previously negative)"
)
_UNREADABLE_POD: Final = 'Pod in version "v1" cannot be handled as a Pod'
_UNREADABLE_TEMPLATE: Final = 'PodTemplate in version "v1" cannot be handled as a PodTemplate'


def is_finished(pod: Mapping[str, Any]) -> bool:
    """True if the pod's phase is Succeeded or Failed."""
    return (pod.get("status") or {}).get("phase") in FINISHED_PHASES


def set_condition(
    pod: JsonObject, type_: str, reason: str = "", message: str = "", *, status: str = "True"
) -> None:
    """Set a condition of a pod, in place."""
    condition = {
        "type": type_,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": timestamp(now()),
    }
    if reason:
        condition |= {"reason": reason, "message": message}
    written = pod.setdefault("status", {})
    others = [item for item in written.get("conditions") or [] if item.get("type") != type_]
    written["conditions"] = [*others, condition]


class PodStrategy(Strategy):
    """Pods are deleted gracefully: a bound pod exists until its node completes the deletion."""

    has_generation = True
    graceful = True
    returns_deleted = True

    def decode(self, obj: Mapping[str, Any], unknown: list[str]) -> JsonObject:
        """Return a copy; reject fields of a wrong type, as the real server does."""
        pod: JsonObject = copy_json(obj)
        spec = pod.setdefault("spec", {})
        _expect(spec, dict, "Pod.spec", "v1.PodSpec")
        for field in _CONTAINER_LISTS:
            _check_containers(spec.get(field), f"spec.{field}")
        _expect(spec.get("volumes"), list, "PodSpec.spec.volumes", "[]v1.Volume")
        _expect(spec.get("nodeSelector"), dict, "PodSpec.spec.nodeSelector", "map[string]string")
        _expect(pod.get("status"), dict, "Pod.status", "v1.PodStatus")
        return pod

    def prepare_create(self, obj: JsonObject) -> None:
        """Set the defaults of the spec, and the phase Pending."""
        spec = obj["spec"]
        for field, value in _spec_defaults().items():
            spec.setdefault(field, value)
        account = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = account
        for container in _containers(spec):
            _complete_container(container)
        obj["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}
        if spec.get("schedulingGates"):
            set_condition(obj, "PodScheduled", "SchedulingGated", _GATED, status="False")

    def validate(self, new: JsonObject, old: JsonObject | None) -> list[Cause]:
        """Validate a new pod's spec; of an existing pod only images and a few other fields may change."""
        if old is None:
            return list(_validate_spec(new["spec"]))
        if _fixed(new["spec"]) != _fixed(old["spec"]):
            return [forbidden_field("spec", _UPDATE_REFUSED)]
        added = _gates(new["spec"]) - _gates(old["spec"])
        message = (
            f"only deletion is allowed, but found new scheduling gate '{min(added, default='')}'"
        )
        return [forbidden_field("spec.schedulingGates", message)] if added else []

    def grace_seconds(self, obj: JsonObject, asked: int | None) -> int:
        """Return the grace period; 0 for a pod that is not bound or is finished."""
        if is_finished(obj) or not obj["spec"].get("nodeName"):
            return 0
        if asked is not None:
            return max(asked, 0)
        return int(obj["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE_S))


def _spec_defaults() -> JsonObject:
    return {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": DEFAULT_GRACE_S,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "priority": 0,
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
    }


def _containers(spec: Mapping[str, Any]) -> Iterator[JsonObject]:
    for field in _CONTAINER_LISTS:
        yield from spec.get(field) or []


def _complete_container(container: JsonObject) -> None:
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    if "imagePullPolicy" not in container:
        _, _, tag = str(container.get("image", "")).rpartition("/")[2].partition(":")
        container["imagePullPolicy"] = "IfNotPresent" if tag not in ("", "latest") else "Always"
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")


def qos_class(spec: Mapping[str, Any]) -> str:
    """Return the QoS class that follows from a pod's requests and limits."""
    requests: list[Any] = []
    guaranteed = True
    for container in _containers(spec):
        resources = container.get("resources") or {}
        limits = _compute(resources.get("limits"))
        wanted = limits | _compute(resources.get("requests"))
        requests += wanted
        guaranteed = guaranteed and set(limits) == {"cpu", "memory"} and wanted == limits
    if not requests:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _compute(amounts: Mapping[str, Any] | None) -> dict[str, str]:
    given = amounts or {}
    return {name: str(given[name]) for name in ("cpu", "memory") if name in given}


def _gates(spec: Mapping[str, Any]) -> set[str]:
    """Return the names of the pod's scheduling gates."""
    return {str(gate.get("name")) for gate in spec.get("schedulingGates") or []}


def _fixed(spec: Mapping[str, Any]) -> JsonObject:
    """Return the immutable part of a spec."""
    kept = {name: value for name, value in spec.items() if name not in _UPDATABLE}
    for field in _CONTAINER_LISTS:
        if field in kept:
            kept[field] = [{**container, "image": None} for container in kept[field]]
    return kept


def _validate_spec(spec: Mapping[str, Any]) -> Iterator[Cause]:
    if not spec.get("containers"):
        yield required("spec.containers")
    seen: set[str] = set()
    for field in _CONTAINER_LISTS:
        for index, container in enumerate(spec.get(field) or []):
            path = f"spec.{field}[{index}]"
            yield from _validate_container(container, path, seen)
            yield from _validate_mounts(container, path, spec)
    policy = spec["restartPolicy"]
    if policy not in RESTART_POLICIES:
        yield unsupported("spec.restartPolicy", policy, RESTART_POLICIES)


def _validate_container(
    container: Mapping[str, Any], path: str, seen: set[str]
) -> Iterator[Cause]:
    name = container.get("name")
    if not name:
        yield required(f"{path}.name")
    elif problem := check_label_name(name):
        yield invalid_value(f"{path}.name", name, problem)
    elif name in seen:
        yield duplicate(f"{path}.name", name)
    else:
        seen.add(name)
    if not container.get("image"):
        yield required(f"{path}.image")
    for index, variable in enumerate(container.get("env") or []):
        if not variable.get("name"):
            yield required(f"{path}.env[{index}].name")


def _validate_mounts(
    container: Mapping[str, Any], path: str, spec: Mapping[str, Any]
) -> Iterator[Cause]:
    volumes = {volume.get("name") for volume in spec.get("volumes") or []}
    for index, mount in enumerate(container.get("volumeMounts") or []):
        if mount.get("name") not in volumes:
            yield missing_reference(f"{path}.volumeMounts[{index}].name", mount.get("name"))


def _check_containers(containers: Any, path: str) -> None:
    _expect(containers, list, f"PodSpec.{path}", "[]v1.Container")
    for container in containers or []:
        _expect(container, dict, f"PodSpec.{path}", "v1.Container")
        for field in ("name", "image", "workingDir"):
            _expect(container.get(field), str, f"Container.{path}.{field}", "string")
        for field in ("command", "args"):
            _expect(container.get(field), list, f"Container.{path}.{field}", "[]string")
            for word in container.get(field) or []:
                _expect(word, str, f"Container.{path}.{field}", "string")
        resources = container.get("resources")
        _expect(resources, dict, f"Container.{path}.resources", "v1.ResourceRequirements")
        for field in ("limits", "requests"):
            where = f"ResourceRequirements.{path}.resources.{field}"
            _expect((resources or {}).get(field), dict, where, "v1.ResourceList")
        _expect(container.get("env"), list, f"Container.{path}.env", "[]v1.EnvVar")
        for variable in container.get("env") or []:
            _expect(variable, dict, f"Container.{path}.env", "v1.EnvVar")
            _expect(variable.get("value"), str, f"EnvVar.{path}.env.value", "string")


_GO_TYPES: Final = {bool: "bool", int: "number", float: "number", str: "string", list: "array"}


def _expect(value: Any, wanted: type, field: str, go_type: str) -> None:
    if value is not None and not isinstance(value, wanted):
        raise _unreadable(_GO_TYPES.get(type(value), "object"), field, go_type)


def _unreadable(found: str, field: str, go_type: str) -> ApiError:
    return bad_request(
        'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal '
        f"{found} into Go struct field {field} of type {go_type}"
    )


class PodTemplateStrategy(Strategy):
    """PodTemplates: decodes, defaults and validates the pod in `template`."""

    def __init__(self) -> None:
        self._pods: Final = PodStrategy()

    def decode(self, obj: Mapping[str, Any], unknown: list[str]) -> JsonObject:
        """Return a copy; reject fields of a wrong type, as for pods."""
        copied: JsonObject = copy_json(obj)
        try:
            copied["template"] = self._pods.decode(copied.get("template") or {}, unknown)
        except ApiError as error:
            raise bad_request(str(error).replace(_UNREADABLE_POD, _UNREADABLE_TEMPLATE)) from None
        return copied

    def prepare_create(self, obj: JsonObject) -> None:
        """Set the defaults of the pod's spec."""
        self._pods.prepare_create(obj["template"])
        del obj["template"]["status"]

    def validate(self, new: JsonObject, old: JsonObject | None) -> list[Cause]:
        """Validate the pod; the fields of the causes are prefixed with `template`."""
        causes = self._pods.validate(new["template"], None)
        return [replace(cause, field=f"template.{cause.field}") for cause in causes]
