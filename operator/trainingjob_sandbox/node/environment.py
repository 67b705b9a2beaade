"""Computes a container's environment variables (`env`, `envFrom`, downward API) and expands `$(NAME)`. No IO.

Processes never inherit the node's environment: a training job must not see the variables of the
operator or of the user's shell.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from trainingjob_sandbox.node.constants import Object
from trainingjob_sandbox.node.quantities import parse

_REFERENCE: Final = re.compile(r"\$(?:\$|\(([^()]*)\))")
_SUBSCRIPT: Final = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class ConfigError(Exception):
    """A ConfigMap, Secret or key is missing, perhaps temporarily. The message is the kubelet's."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The existing ConfigMaps and Secrets that a pod refers to.

    Attributes:
        configmaps: name -> key -> content.
        secrets: name -> key -> decoded content.
    """

    configmaps: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    secrets: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)

    def configmap(self, name: str, *, optional: bool) -> Mapping[str, bytes] | None:
        """Return the data of a ConfigMap; None if it is optional and missing.

        Raises:
            ConfigError: it is missing and not optional.
        """
        return _require(self.configmaps, name, optional=optional, kind="configmap")

    def secret(self, name: str, *, optional: bool) -> Mapping[str, bytes] | None:
        """Return the data of a Secret; None if it is optional and missing.

        Raises:
            ConfigError: it is missing and not optional.
        """
        return _require(self.secrets, name, optional=optional, kind="secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPlacement:
    """Facts about the pod's node and address, for the downward API.

    Attributes:
        node: the node's name.
        pod_ip: the pod's address.
        host_ip: the node's address.
        capacity: the node's resources, used for containers without limits.
    """

    node: str
    pod_ip: str
    host_ip: str
    capacity: Mapping[str, str]


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by its value, and `$$` by a dollar sign; keep references to unknown names."""

    def one(match: "re.Match[str]") -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(one, text)


def container_variables(
    pod: Object,
    container: Object,
    sources: Sources,
    placement: PodPlacement,
    resolve: Callable[[str], str] = str,
) -> dict[str, str]:
    """Return the variables of `envFrom` and then `env`, in order; later values may refer to earlier ones.

    Args:
        pod: the pod.
        container: one of its containers.
        sources: the existing ConfigMaps and Secrets it refers to.
        placement: node facts for the downward API.
        resolve: replaces host names of ranks by addresses. It is applied to literal values only, so
            that the downward API still returns the pod's own name.

    Raises:
        ConfigError: a source that is not optional is missing.
    """
    variables: dict[str, str] = {}
    for entry in container.get("envFrom") or []:
        variables |= _env_from(entry, sources)
    for entry in container.get("env") or []:
        if origin := entry.get("valueFrom"):
            value = _value_from(origin, pod, container, sources, placement)
        else:
            value = resolve(expand(str(entry.get("value") or ""), variables))
        if value is not None:
            variables[str(entry["name"])] = value
    return variables


def field_value(path: str, pod: Object, placement: PodPlacement) -> str:
    """Return one field of the downward API.

    Raises:
        ConfigError: the field is not supported.
    """
    metadata, spec = pod["metadata"], pod["spec"]
    if match := _SUBSCRIPT.fullmatch(path):
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    known = {
        "metadata.name": metadata.get("name", ""),
        "metadata.namespace": metadata.get("namespace", ""),
        "metadata.uid": metadata.get("uid", ""),
        "spec.nodeName": placement.node,
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.podIP": placement.pod_ip,
        "status.podIPs": placement.pod_ip,
        "status.hostIP": placement.host_ip,
        "status.hostIPs": placement.host_ip,
    }
    if path in known:
        return str(known[path])
    if path in {"metadata.labels", "metadata.annotations"}:
        pairs = metadata.get(path.rpartition(".")[2]) or {}
        return "\n".join(f'{key}="{_escape(value)}"' for key, value in sorted(pairs.items()))
    raise ConfigError(f"fieldPath {path!r} is not supported")


def resource_value(
    reference: Object, pod: Object, container: Object, placement: PodPlacement
) -> str:
    """Return a container's limit or request in units of the divisor, rounded up.

    Without a limit or request it is the node's capacity.

    Raises:
        ConfigError: an unknown container, or an invalid quantity.
    """
    name = reference.get("containerName")
    if name:
        found = [c for c in pod["spec"].get("containers") or [] if c.get("name") == name]
        if not found:
            raise ConfigError(f"resourceFieldRef: this pod has no container {name!r}")
        container = found[0]
    kind, _, resource = str(reference.get("resource", "")).partition(".")
    resources = container.get("resources") or {}
    amount = (resources.get(kind) or {}).get(resource)
    if amount is None and kind == "requests":
        amount = (resources.get("limits") or {}).get(resource)
    if amount is None:
        amount = placement.capacity.get(resource, 0)
    divisor = str(reference.get("divisor") or "0")
    try:
        unit = parse(divisor) or parse(1)
        whole, rest = divmod(parse(amount), unit)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return str(int(whole) + (1 if rest else 0))


def _require(
    there: Mapping[str, Mapping[str, bytes]], name: str, *, optional: bool, kind: str
) -> Mapping[str, bytes] | None:
    if name not in there and not optional:
        raise ConfigError(f'{kind} "{name}" not found')
    return there.get(name)


def _env_from(entry: Object, sources: Sources) -> dict[str, str]:
    data: Mapping[str, bytes] | None = None
    if reference := entry.get("configMapRef"):
        optional = bool(reference.get("optional"))
        data = sources.configmap(reference.get("name", ""), optional=optional)
    elif reference := entry.get("secretRef"):
        optional = bool(reference.get("optional"))
        data = sources.secret(reference.get("name", ""), optional=optional)
    prefix = entry.get("prefix") or ""
    return {f"{prefix}{key}": _text(value) for key, value in (data or {}).items()}


def _value_from(
    origin: Object, pod: Object, container: Object, sources: Sources, placement: PodPlacement
) -> str | None:
    if reference := origin.get("fieldRef"):
        return field_value(str(reference.get("fieldPath", "")), pod, placement)
    if reference := origin.get("resourceFieldRef"):
        return resource_value(reference, pod, container, placement)
    if reference := origin.get("configMapKeyRef"):
        return _key(reference, sources.configmap, "ConfigMap", pod)
    if reference := origin.get("secretKeyRef"):
        return _key(reference, sources.secret, "Secret", pod)
    raise ConfigError(f"valueFrom is not supported here: {', '.join(origin) or 'empty'}")


def _key(
    reference: Object,
    look_up: Callable[..., Mapping[str, bytes] | None],
    kind: str,
    pod: Object,
) -> str | None:
    optional = bool(reference.get("optional"))
    name, key = str(reference.get("name", "")), str(reference.get("key", ""))
    data: Any = look_up(name, optional=optional)
    if data is not None and key in data:
        return _text(data[key])
    if optional:
        return None
    namespace = pod["metadata"].get("namespace", "")
    raise ConfigError(f"couldn't find key {key} in {kind} {namespace}/{name}")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
