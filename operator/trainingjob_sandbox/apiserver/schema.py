"""Prunes and defaults custom objects by their structural schema, and finds duplicates in their lists.

A CRD's schema is parsed once into a tree of nodes. `prune_and_default` then walks the object, not
the schema, so the cost depends on the object's size, and a schema with a whole pod template is
cheap. `validation.py` checks types and bounds.
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
    """One node of a schema: the part that pruning, defaulting and uniqueness need.

    Attributes:
        properties: the fields of an object.
        items: the schema of the elements of a list; None if there is none.
        additional: the schema of the values of a map; None if there is none.
        preserve: True if unknown fields are kept.
        nullable: True if null is a value; else a null field counts as absent.
        defaults: default values of fields.
        list_type: `atomic`, `set` or `map`.
        list_keys: the keys of the elements of a list of type `map`.
    """

    properties: dict[str, "Node"] = field(default_factory=dict)
    items: "Node | None" = None
    additional: "Node | None" = None
    preserve: bool = False
    nullable: bool = False
    defaults: dict[str, Any] = field(default_factory=dict)
    list_type: str = "atomic"
    list_keys: tuple[str, ...] = ()


def parse(schema: Mapping[str, Any]) -> Node:
    """Parse a schema into a tree of nodes."""
    properties = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    items = schema.get("items")
    return Node(
        properties={name: parse(inner) for name, inner in properties.items()},
        items=parse(items) if isinstance(items, dict) else None,
        additional=parse(additional) if isinstance(additional, dict) else None,
        preserve=bool(schema.get(_PRESERVE) or schema.get(_EMBEDDED) or additional is True),
        nullable=bool(schema.get("nullable")),
        defaults={
            name: inner["default"] for name, inner in properties.items() if "default" in inner
        },
        list_type=schema.get("x-kubernetes-list-type", "atomic"),
        list_keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()),
    )


def parse_root(schema: Mapping[str, Any]) -> Node:
    """Parse the schema of a complete object, without apiVersion, kind and metadata: `metadata.py` has those."""
    root = parse(schema)
    for name in _SERVER_FIELDS:
        root.properties[name] = Node(preserve=True)
        root.defaults.pop(name, None)
    return root


def prune_and_default(value: Any, node: Node, unknown: list[str], path: str = "") -> Any:
    """Return a copy of a value without unknown fields and ignored nulls, and with defaults.

    Args:
        value: the value that a client sent.
        node: its schema.
        unknown: receives the paths of the dropped fields.
        path: the path of the value.
    """
    if isinstance(value, dict):
        return _prune_object(value, node, unknown, path)
    if isinstance(value, list):
        if node.items is None:
            return copy.deepcopy(value)
        return [
            prune_and_default(item, node.items, unknown, f"{path}[{index}]")
            for index, item in enumerate(value)
        ]
    return value


def _prune_object(
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
            inner_path = f"{path}.{name}" if path else name
            result[name] = prune_and_default(inner, child, unknown, inner_path)
    for name, default in node.defaults.items():
        if name not in result:
            # The fields of a default value may have defaults, too.
            result[name] = prune_and_default(default, node.properties[name], unknown, path)
    return result


def duplicates(value: Any, node: Node, path: str = "") -> Iterator[Cause]:
    """Yield an error for each duplicate element of lists of type `set` and `map`."""
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
