"""Renders objects as a `meta.k8s.io/v1` Table, the format that `kubectl get` requests."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from trainingjob_sandbox.apiserver.clock import age
from trainingjob_sandbox.apiserver.jsonpath import JsonPathError, compile_path
from trainingjob_sandbox.apiserver.printers import NAME, PLAIN, PRINTERS
from trainingjob_sandbox.apiserver.resources import Column, Resource
from trainingjob_sandbox.apiserver.storage import CollectionId, JsonObject

_EVENTS: Final = CollectionId("", "events")
_VERSION: Final = "meta.k8s.io/v1"


def table(
    resource: Resource,
    objects: Iterable[Mapping[str, Any]],
    *,
    metadata: JsonObject,
    now: datetime,
    include: str = "Metadata",
    headings: bool = True,
) -> JsonObject:
    """Return a Table of objects.

    Args:
        resource: the resource.
        objects: the objects, as they are stored.
        metadata: the metadata of the list.
        now: the current time, for ages.
        include: the part of each object to include: `None`, `Metadata` or `Object`.
        headings: True to include the column definitions; a watch sends them only once.
    """
    columns = _columns(resource)
    return {
        "kind": "Table",
        "apiVersion": _VERSION,
        "metadata": metadata,
        "columnDefinitions": [_heading(column) for column in columns] if headings else None,
        "rows": [
            {"cells": _cells(resource, obj, now), "object": _included(resource, obj, include)}
            for obj in objects
        ],
    }


def _columns(resource: Resource) -> tuple[Column, ...]:
    if resource.custom:
        return (NAME, *resource.columns)
    columns, _ = PRINTERS.get(resource.collection_id, PLAIN)
    return columns if resource.collection_id == _EVENTS else (NAME, *columns)


def _heading(column: Column) -> JsonObject:
    return {
        "name": column.name,
        "type": column.type,
        "format": "name" if column.name == "Name" else "",
        "description": column.description,
        "priority": column.priority,
    }


def _cells(resource: Resource, obj: Mapping[str, Any], now: datetime) -> list[Any]:
    if resource.custom:
        cells = [_custom_cell(column, obj, now) for column in resource.columns]
        return [obj["metadata"]["name"], *cells]
    _, printer = PRINTERS.get(resource.collection_id, PLAIN)
    cells = printer(obj, now)
    return cells if resource.collection_id == _EVENTS else [obj["metadata"]["name"], *cells]


def _custom_cell(column: Column, obj: Mapping[str, Any], now: datetime) -> Any:
    try:
        found = compile_path(column.path)(obj)
    except JsonPathError:
        return None
    return cell(column.type, found[0], now) if found else None


def cell(type_: str, value: Any, now: datetime) -> Any:
    """Return a value as a cell of a column's type; None if the type does not match."""
    if type_ == "string":
        return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    if type_ == "date":
        return age(value, now) if isinstance(value, str) else None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = isinstance(value, bool) if type_ == "boolean" else number
    if not fits:
        return None
    return int(value) if type_ == "integer" else value


def _included(resource: Resource, obj: Mapping[str, Any], include: str) -> JsonObject | None:
    if include == "None":
        return None
    if include == "Object":
        return dict(obj) if resource.conversion is None else resource.conversion.to_served(obj)
    return {"kind": "PartialObjectMetadata", "apiVersion": _VERSION, "metadata": obj["metadata"]}
