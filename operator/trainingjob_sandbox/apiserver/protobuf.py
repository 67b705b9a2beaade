"""Decodes Kubernetes' protobuf encoding, for the few kinds that kubectl sends in it.

Commands such as `kubectl create namespace`, `kubectl create configmap` and `kubectl drain` always
send protobuf, without a fallback to JSON. Manifests are sent as JSON. Responses are always JSON.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from trainingjob_sandbox.apiserver.errors import ApiError

MEDIA_TYPE: Final = "application/vnd.kubernetes.protobuf"

_MAGIC: Final = b"k8s\0"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Message = Mapping[int, "Field"]
"""The fields of a message by field number."""


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        name: its name in JSON.
        type: a message, or `string`, `bytes`, `int`, `bool`, `quantity`, `int-or-string`.
        many: empty for a single value, else `list`, or `map` with string keys.
    """

    name: str
    type: "Message | str" = "string"
    many: str = ""


_OWNER: Final[Message] = {
    1: Field("kind"),
    3: Field("name"),
    4: Field("uid"),
    5: Field("apiVersion"),
    6: Field("controller", "bool"),
    7: Field("blockOwnerDeletion", "bool"),
}
_META: Final = Field(
    "metadata",
    {
        1: Field("name"),
        2: Field("generateName"),
        3: Field("namespace"),
        5: Field("uid"),
        6: Field("resourceVersion"),
        11: Field("labels", many="map"),
        12: Field("annotations", many="map"),
        13: Field("ownerReferences", _OWNER, "list"),
        14: Field("finalizers", many="list"),
    },
)
_DELETE_OPTIONS: Final[Message] = {
    1: Field("gracePeriodSeconds", "int"),
    2: Field("preconditions", {1: Field("uid"), 2: Field("resourceVersion")}),
    3: Field("orphanDependents", "bool"),
    4: Field("propagationPolicy"),
    5: Field("dryRun", many="list"),
}
_SERVICE_PORT: Final[Message] = {
    1: Field("name"),
    2: Field("protocol"),
    3: Field("port", "int"),
    4: Field("targetPort", "int-or-string"),
    5: Field("nodePort", "int"),
}
_SERVICE_SPEC: Final[Message] = {
    1: Field("ports", _SERVICE_PORT, "list"),
    2: Field("selector", many="map"),
    3: Field("clusterIP"),
    4: Field("type"),
    10: Field("externalName"),
}
_KINDS: Final[Mapping[str, Message]] = {
    "ConfigMap": {
        1: _META,
        2: Field("data", many="map"),
        3: Field("binaryData", "bytes", "map"),
        4: Field("immutable", "bool"),
    },
    "DeleteOptions": _DELETE_OPTIONS,
    "Eviction": {1: _META, 2: Field("deleteOptions", _DELETE_OPTIONS)},
    "Namespace": {1: _META},
    "ResourceQuota": {1: _META, 2: Field("spec", {1: Field("hard", "quantity", "map")})},
    "Secret": {
        1: _META,
        2: Field("data", "bytes", "map"),
        3: Field("type"),
        4: Field("stringData", many="map"),
        5: Field("immutable", "bool"),
    },
    "Service": {1: _META, 2: Field("spec", _SERVICE_SPEC)},
    "ServiceAccount": {1: _META},
}


def decode(body: bytes) -> dict[str, Any]:
    """Decode an object.

    Raises:
        ApiError: 400, it cannot be decoded; 415, its kind is supported only as JSON.
    """
    try:
        envelope = dict(_fields(body.removeprefix(_MAGIC)))
        type_meta = dict(_fields(envelope[1]))
        kind = type_meta[2].decode()
        if kind in _KINDS and body.startswith(_MAGIC):
            obj = _message(envelope.get(2, b""), _KINDS[kind])
            return {"apiVersion": type_meta[1].decode(), "kind": kind, **obj}
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        message = f"the protobuf body cannot be decoded: {error}"
        raise ApiError(400, "BadRequest", message) from error
    raise ApiError(
        415,
        "UnsupportedMediaType",
        f"the sandbox accepts {kind} only as JSON or YAML: write a manifest and use kubectl apply",
    )


def _message(data: bytes, message: Message) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for number, value in _fields(data):
        field = message.get(number)
        if field is None:
            continue
        if field.many == "map":
            entry = dict(_fields(value))
            key = entry.get(1, b"").decode()
            result.setdefault(field.name, {})[key] = _value(entry.get(2, b""), field.type)
        elif field.many == "list":
            result.setdefault(field.name, []).append(_value(value, field.type))
        elif (found := _value(value, field.type)) not in ("", {}):
            # Kubernetes' encoding includes the empty values of unset fields.
            result[field.name] = found
    return result


def _value(value: Any, type_: Message | str) -> Any:
    if isinstance(type_, str):
        return _SCALARS[type_](value)
    return _message(value, type_)


def _int_or_string(value: bytes) -> Any:
    parts = dict(_fields(value))
    return parts.get(3, b"").decode() if parts.get(1) else parts.get(2, 0)


def _quantity(value: bytes) -> str:
    text: bytes = dict(_fields(value)).get(1, b"0")
    return text.decode()


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the field numbers and raw values of a message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
        elif wire == _BYTES:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise ValueError("truncated message")
            yield number, data[at : at + length]
            at += length
        elif wire in (_FIXED32, _FIXED64):
            at += 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"unknown wire type {wire}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        result |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return result, at


_SCALARS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "bool": bool,
    "bytes": lambda value: base64.b64encode(value).decode(),
    "int": int,
    "int-or-string": _int_or_string,
    "quantity": _quantity,
    "string": bytes.decode,
}
