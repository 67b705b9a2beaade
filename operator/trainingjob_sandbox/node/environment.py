"""A container's environment and command line, as Kubernetes defines them. Pure: values in and out.

The processes get a small environment of their own, never the node's: what the operator or the
user's shell knows is no business of a training job.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from trainingjob_sandbox.node.names import Object
from trainingjob_sandbox.node.quantities import parse

_REFERENCE: Final = re.compile(r"\$(?:\$|\(([^()]*)\))")
_SUBSCRIPT: Final = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class ConfigError(Exception):
    """A container's configuration is not there (yet). The message is worded as a kubelet's."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The ConfigMaps and Secrets that a pod refers to, by name; those that exist.

    Attributes:
        configmaps: name to key to content.
        secrets: the same, decoded.
    """

    configmaps: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    secrets: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)

    def configmap(self, name: str, *, optional: bool) -> Mapping[str, bytes] | None:
        """Its data; None if it is missing and may be.

        Raises:
            ConfigError: it is missing.
        """
        return _require(self.configmaps, name, optional=optional, kind="configmap")

    def secret(self, name: str, *, optional: bool) -> Mapping[str, bytes] | None:
        """Its data; None if it is missing and may be.

        Raises:
            ConfigError: it is missing.
        """
        return _require(self.secrets, name, optional=optional, kind="secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place where the pod runs, for the downward API.

    Attributes:
        node: the node's name.
        pod_ip: the pod's address.
        host_ip: the node's.
        capacity: the node's resources: the limits of a container that has none.
    """

    node: str
    pod_ip: str
    host_ip: str
    capacity: Mapping[str, str]


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)`; `$$` is a dollar sign, and an unknown name stays as it is written."""

    def one(match: "re.Match[str]") -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(one, text)


def container_variables(
    pod: Object,
    container: Object,
    sources: Sources,
    place: Place,
    resolve: Callable[[str], str] = str,
) -> dict[str, str]:
    """`envFrom`, then `env` in its order, where later values may refer to earlier ones.

    Args:
        pod: the pod.
        container: one of its containers.
        sources: what exists of the ConfigMaps and Secrets it names.
        place: what the downward API says.
        resolve: replaces host names of ranks by addresses; applied to literal values only, so
            that a pod still learns its own name as it is.

    Raises:
        ConfigError: something that is not optional is missing.
    """
    variables: dict[str, str] = {}
    for entry in container.get("envFrom") or []:
        variables |= _env_from(entry, sources)
    for entry in container.get("env") or []:
        if origin := entry.get("valueFrom"):
            value = _value_from(origin, pod, container, sources, place)
        else:
            value = resolve(expand(str(entry.get("value") or ""), variables))
        if value is not None:
            variables[str(entry["name"])] = value
    return variables


def field_value(path: str, pod: Object, place: Place) -> str:
    """One field of the downward API.

    Raises:
        ConfigError: the downward API has no such field.
    """
    metadata, spec = pod["metadata"], pod["spec"]
    if match := _SUBSCRIPT.fullmatch(path):
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    known = {
        "metadata.name": metadata.get("name", ""),
        "metadata.namespace": metadata.get("namespace", ""),
        "metadata.uid": metadata.get("uid", ""),
        "spec.nodeName": place.node,
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.podIP": place.pod_ip,
        "status.podIPs": place.pod_ip,
        "status.hostIP": place.host_ip,
        "status.hostIPs": place.host_ip,
    }
    if path in known:
        return str(known[path])
    if path in {"metadata.labels", "metadata.annotations"}:
        pairs = metadata.get(path.rpartition(".")[2]) or {}
        return "\n".join(f'{key}="{_escape(value)}"' for key, value in sorted(pairs.items()))
    raise ConfigError(f"fieldPath {path!r} is not supported")


def resource_value(reference: Object, pod: Object, container: Object, place: Place) -> str:
    """A limit or request of a container in units of its divisor, rounded up; else the node's.

    Raises:
        ConfigError: it names a container or quantity that is not there.
    """
    name = reference.get("containerName")
    if name:
        found = [c for c in pod["spec"].get("containers") or [] if c.get("name") == name]
        if not found:
            raise ConfigError(f"resourceFieldRef names no container of this pod: {name!r}")
        container = found[0]
    kind, _, resource = str(reference.get("resource", "")).partition(".")
    resources = container.get("resources") or {}
    amount = (resources.get(kind) or {}).get(resource)
    if amount is None and kind == "requests":
        amount = (resources.get("limits") or {}).get(resource)
    if amount is None:
        amount = place.capacity.get(resource, 0)
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
    origin: Object, pod: Object, container: Object, sources: Sources, place: Place
) -> str | None:
    if reference := origin.get("fieldRef"):
        return field_value(str(reference.get("fieldPath", "")), pod, place)
    if reference := origin.get("resourceFieldRef"):
        return resource_value(reference, pod, container, place)
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
