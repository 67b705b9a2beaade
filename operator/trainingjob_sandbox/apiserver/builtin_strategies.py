"""The strategies (defaults, validation) of namespaces, Services, nodes, Secrets and other simple kinds."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final

from trainingjob_sandbox.apiserver.errors import Cause, invalid_value, required
from trainingjob_sandbox.apiserver.resources import Strategy, copy_json
from trainingjob_sandbox.apiserver.storage import JsonObject

MAX_DATA_BYTES: Final = 1_048_576
NAMESPACE_FINALIZER: Final = "kubernetes"

_MAX_PORT: Final = 65_535
_HEADLESS: Final = "None"


class NamespaceStrategy(Strategy):
    """Namespaces: phase Active, and the label `kubernetes.io/metadata.name`."""

    def prepare_create(self, obj: JsonObject) -> None:
        """Set the name label, the finalizer `kubernetes` in the spec, and the phase."""
        metadata = obj["metadata"]
        name = metadata.get("name", "")
        metadata["labels"] = {
            **metadata.get("labels", {}),
            "kubernetes.io/metadata.name": name,
        }
        obj["spec"] = {"finalizers": [NAMESPACE_FINALIZER]}
        obj["status"] = {"phase": "Active"}

    def prepare_update(self, new: JsonObject, old: JsonObject) -> None:
        """Keep the spec, whose finalizers only the server changes."""
        new["spec"] = old.get("spec", {})


class ServiceStrategy(Strategy):
    """Services: allocates a cluster IP, unless they are headless."""

    returns_deleted = True

    def __init__(self) -> None:
        self._next_address = 1

    def prepare_create(self, obj: JsonObject) -> None:
        """Set the defaults and the cluster IP."""
        spec = obj.setdefault("spec", {})
        spec.setdefault("type", "ClusterIP")
        if spec["type"] != "ExternalName":
            address = spec.get("clusterIP") or self._address()
            spec["clusterIP"] = address
            spec["clusterIPs"] = [address]
            spec.setdefault("ipFamilies", ["IPv4"])
            spec.setdefault("ipFamilyPolicy", "SingleStack")
            spec.setdefault("internalTrafficPolicy", "Cluster")
        spec.setdefault("sessionAffinity", _HEADLESS)
        for port in spec.get("ports") or []:
            port.setdefault("protocol", "TCP")
            if "port" in port:
                port.setdefault("targetPort", port["port"])
        obj["status"] = {"loadBalancer": {}}

    def prepare_update(self, new: JsonObject, old: JsonObject) -> None:
        """Keep the allocated cluster IP."""
        spec = new.setdefault("spec", {})
        for field in ("clusterIP", "clusterIPs"):
            if not spec.get(field) and field in old["spec"]:
                spec[field] = old["spec"][field]

    def validate(self, new: JsonObject, old: JsonObject | None) -> list[Cause]:
        """Validate the ports; a Service with a cluster IP needs at least one."""
        spec = new.get("spec", {})
        ports = spec.get("ports") or []
        causes = [
            invalid_value(
                f"spec.ports[{index}].port",
                port.get("port", 0),
                f"must be between 1 and {_MAX_PORT}, inclusive",
            )
            for index, port in enumerate(ports)
            if not 0 < port.get("port", 0) <= _MAX_PORT
        ]
        if not ports and spec.get("clusterIP") not in (None, _HEADLESS):
            causes.append(required("spec.ports"))
        return causes

    def _address(self) -> str:
        self._next_address += 1
        return f"10.0.{self._next_address // 256 % 256}.{self._next_address % 256}"


class NodeStrategy(Strategy):
    """Nodes: a node sets its own status when it registers."""

    def prepare_create(self, obj: JsonObject) -> None:
        """Add an empty spec and status if they are missing."""
        obj.setdefault("spec", {})
        obj.setdefault("status", {})


class DataStrategy(Strategy):
    """ConfigMaps and Secrets: at most 1 MiB of data."""

    def validate(self, new: JsonObject, old: JsonObject | None) -> list[Cause]:
        """Check the size of the data."""
        size = sum(
            len(str(value))
            for field in ("data", "binaryData")
            for value in (new.get(field) or {}).values()
        )
        if size <= MAX_DATA_BYTES:
            return []
        message = f"Too long: may not be more than {MAX_DATA_BYTES} bytes"
        return [Cause("data", message, "FieldValueTooLong")]


class SecretStrategy(DataStrategy):
    """Secrets: `stringData` is stored as base64 in `data`."""

    def decode(self, obj: Mapping[str, Any], unknown: list[str]) -> JsonObject:
        """Return a copy with `stringData` moved into `data`."""
        secret = super().decode(obj, unknown)
        secret.setdefault("type", "Opaque")
        plain = secret.pop("stringData", None) or {}
        if plain:
            coded = {key: b64encode(str(text).encode()).decode() for key, text in plain.items()}
            secret["data"] = {**(secret.get("data") or {}), **coded}
        return secret


class ClaimStrategy(Strategy):
    """PersistentVolumeClaims: pending, because the sandbox never binds them."""

    returns_deleted = True

    def prepare_create(self, obj: JsonObject) -> None:
        """Set the phase Pending."""
        obj["status"] = {"phase": "Pending"}


class EventStrategy(Strategy):
    """Events: missing fields are added with empty values."""

    def decode(self, obj: Mapping[str, Any], unknown: list[str]) -> JsonObject:
        """Return a copy with all standard fields."""
        event: JsonObject = copy_json(obj)
        for field, value in (
            ("involvedObject", {}),
            ("source", {}),
            ("firstTimestamp", None),
            ("lastTimestamp", None),
            ("eventTime", None),
            ("reportingComponent", ""),
            ("reportingInstance", ""),
        ):
            event.setdefault(field, value)
        return event

    def validate(self, new: JsonObject, old: JsonObject | None) -> list[Cause]:
        """Check that the namespace is that of the involved object; `default` if that is cluster-scoped."""
        namespace = new["metadata"].get("namespace")
        involved = new["involvedObject"].get("namespace", "")
        if involved == namespace or (not involved and namespace == "default"):
            return []
        message = "does not match event.namespace"
        return [invalid_value("involvedObject.namespace", involved, message)]


class QuotaStrategy(Strategy):
    """ResourceQuotas: enforced from their creation on."""

    returns_deleted = True

    def prepare_create(self, obj: JsonObject) -> None:
        """Start with an empty status; `admission.py` fills it in at once."""
        obj.setdefault("spec", {})
        obj["status"] = {}

    def validate(self, new: JsonObject, old: JsonObject | None) -> list[Cause]:
        """Check that limits on the number of objects are integers."""
        hard = (new.get("spec") or {}).get("hard") or {}
        return [
            invalid_value(f"spec.hard.{name}", str(value), "must be an integer")
            for name, value in hard.items()
            if (name == "pods" or name.startswith("count/")) and not str(value).isdigit()
        ]


class LeaseStrategy(Strategy):
    """Leases: an update needs a resourceVersion."""

    unconditional_update = False


class ReturnedStrategy(Strategy):
    """A plain kind whose DELETE returns the object."""

    returns_deleted = True
