"""The strategies of the simple built-in kinds: namespaces, Services, nodes, quotas."""

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
    """Namespaces start active and carry their name as a label."""

    def prepare_create(self, obj: JsonObject) -> None:
        """Label the namespace, and let it hold its own deletion until it is empty."""
        metadata = obj["metadata"]
        name = metadata.get("name", "")
        metadata["labels"] = {
            **metadata.get("labels", {}),
            "kubernetes.io/metadata.name": name,
        }
        obj["spec"] = {"finalizers": [NAMESPACE_FINALIZER]}
        obj["status"] = {"phase": "Active"}

    def prepare_update(self, new: JsonObject, old: JsonObject) -> None:
        """Keep the finalizers of the spec: they belong to the server."""
        new["spec"] = old.get("spec", {})


class ServiceStrategy(Strategy):
    """Services get an address, unless they are headless."""

    returns_deleted = True

    def __init__(self) -> None:
        self._next_address = 1

    def prepare_create(self, obj: JsonObject) -> None:
        """Fill in the defaults."""
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
        """Keep the address that was given."""
        spec = new.setdefault("spec", {})
        for field in ("clusterIP", "clusterIPs"):
            if not spec.get(field) and field in old["spec"]:
                spec[field] = old["spec"][field]

    def validate(self, new: JsonObject, old: JsonObject | None) -> list[Cause]:
        """Judge the ports; one with an address needs some."""
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
    """A node brings its own status along when it registers."""

    def prepare_create(self, obj: JsonObject) -> None:
        """Make sure that there is a spec and a status."""
        obj.setdefault("spec", {})
        obj.setdefault("status", {})


class DataStrategy(Strategy):
    """ConfigMaps and Secrets hold at most 1 MiB."""

    def validate(self, new: JsonObject, old: JsonObject | None) -> list[Cause]:
        """Count the bytes of the data."""
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
    """Secrets may be written in plain text, and are kept in base64."""

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
    """Claims wait for a volume; nothing here binds them."""

    returns_deleted = True

    def prepare_create(self, obj: JsonObject) -> None:
        """Start unbound."""
        obj["status"] = {"phase": "Pending"}


class EventStrategy(Strategy):
    """Events are written as they come; what is missing is there, and empty."""

    def decode(self, obj: Mapping[str, Any], unknown: list[str]) -> JsonObject:
        """Return a copy with the fields that are always there."""
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
        """An event lives in the namespace of what it is about; that of the cluster in `default`."""
        there = new["metadata"].get("namespace")
        about = new["involvedObject"].get("namespace", "")
        if about == there or (not about and there == "default"):
            return []
        return [invalid_value("involvedObject.namespace", about, "does not match event.namespace")]


class QuotaStrategy(Strategy):
    """Quotas are enforced from the moment they are there."""

    returns_deleted = True

    def prepare_create(self, obj: JsonObject) -> None:
        """Start with the limits; what is used is counted at once by `admission.py`."""
        obj.setdefault("spec", {})
        obj["status"] = {}

    def validate(self, new: JsonObject, old: JsonObject | None) -> list[Cause]:
        """Only whole numbers can limit how many objects there are."""
        hard = (new.get("spec") or {}).get("hard") or {}
        return [
            invalid_value(f"spec.hard.{name}", str(value), "must be an integer")
            for name, value in hard.items()
            if (name == "pods" or name.startswith("count/")) and not str(value).isdigit()
        ]


class LeaseStrategy(Strategy):
    """A lease may only be changed by someone who has seen it."""

    unconditional_update = False


class ReturnedStrategy(Strategy):
    """A plain kind whose DELETE answers with the object."""

    returns_deleted = True
