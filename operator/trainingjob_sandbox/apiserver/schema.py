"""Structural schemas: what a custom object is pruned to, defaulted with, and unique in.

A CRD's schema is read once into a tree of nodes. `fit` then walks an object, not the schema, so
the cost follows the object's size and a pod template of hundreds of properties is cheap. Types and
bounds are `validation.py`'s affair.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from trainingjob_sandbox.apiserver.errors import Cause, duplicate

_PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
_EMBEDDED: Final = "x-kubernetes-embedded-resource"
_SERVER_FIELDS: Final = ("apiVersion", "kind", "metadata")


@dataclass(slots=True)
class Node:
    """The part of a schema that matters when an object is stored.

    Attributes:
        properties: the fields of an object.
        items: the elements of a list, if they have a schema.
        additional: the values of a map, if they have a schema.
        preserve: whether fields that are not in the schema stay.
        nullable: whether null is a value; otherwise null is as good as absent.
        defaults: values of fields that are absent.
        list_type: `atomic`, `set` or `map`.
        list_keys: the fields that identify the elements of a list of type `map`.
    """

    properties: dict[str, "Node"] = field(default_factory=dict)
    items: "Node | None" = None
    additional: "Node | None" = None
    preserve: bool = False
    nullable: bool = False
    defaults: dict[str, Any] = field(default_factory=dict)
    list_type: str = "atomic"
    list_keys: tuple[str, ...] = ()


def read(schema: Mapping[str, Any]) -> Node:
    """Read a schema into a tree of nodes."""
    properties = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    items = schema.get("items")
    return Node(
        properties={name: read(inner) for name, inner in properties.items()},
        items=read(items) if isinstance(items, dict) else None,
        additional=read(additional) if isinstance(additional, dict) else None,
        preserve=bool(schema.get(_PRESERVE) or schema.get(_EMBEDDED) or additional is True),
        nullable=bool(schema.get("nullable")),
        defaults={
            name: inner["default"] for name, inner in properties.items() if "default" in inner
        },
        list_type=schema.get("x-kubernetes-list-type", "atomic"),
        list_keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()),
    )


def read_root(schema: Mapping[str, Any]) -> Node:
    """Read the schema of a whole object; the server knows metadata better than the schema."""
    root = read(schema)
    for name in _SERVER_FIELDS:
        root.properties[name] = Node(preserve=True)
        root.defaults.pop(name, None)
    return root


def fit(value: Any, node: Node, unknown: list[str], path: str = "") -> Any:
    """Return a copy of a value without unknown fields and needless nulls, and with defaults.

    Args:
        value: what a client sent.
        node: the value's schema.
        unknown: receives the paths of the fields that were dropped.
        path: where the value is.
    """
    if isinstance(value, dict):
        return _fit_object(value, node, unknown, path)
    if isinstance(value, list):
        if node.items is None:
            return copy.deepcopy(value)
        return [
            fit(item, node.items, unknown, f"{path}[{index}]") for index, item in enumerate(value)
        ]
    return value


def _fit_object(
    value: dict[str, Any], node: Node, unknown: list[str], path: str
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, inner in value.items():
        child = node.properties.get(name) or node.additional
        if child is None:
            if node.preserve:
                result[name] = copy.deepcopy(inner)
            else:
                unknown.append(f"{path}.{name}" if path else name)
        elif inner is not None or child.nullable or child.preserve:
            result[name] = fit(inner, child, unknown, f"{path}.{name}" if path else name)
    for name, default in node.defaults.items():
        if name not in result:
            # A default may have fields with defaults of their own.
            result[name] = fit(default, node.properties[name], unknown, path)
    return result


def duplicates(value: Any, node: Node, path: str = "") -> Iterator[Cause]:
    """Find elements that occur twice in lists that are sets or maps."""
    if isinstance(value, dict):
        for name, inner in value.items():
            child = node.properties.get(name) or node.additional
            if child is not None:
                yield from duplicates(inner, child, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        yield from _repeated(value, node, path)
        if node.items is not None:
            for index, item in enumerate(value):
                yield from duplicates(item, node.items, f"{path}[{index}]")


def _repeated(items: list[Any], node: Node, path: str) -> Iterator[Cause]:
    if node.list_type == "atomic":
        return
    seen = []
    for index, item in enumerate(items):
        identity = item
        if node.list_type == "map":
            if not isinstance(item, dict):
                continue
            identity = {key: item[key] for key in node.list_keys if key in item}
        if identity in seen:
            yield duplicate(f"{path}[{index}]", identity)
        seen.append(identity)
