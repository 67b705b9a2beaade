"""Tables: how `kubectl get` asks for lists, so that the server decides what is worth showing."""

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
    """Write objects as a table.

    Args:
        resource: what they are.
        objects: the objects, as they are stored.
        metadata: the list's.
        now: the time that ages are reckoned from.
        include: how much of each object goes along: `None`, `Metadata` or `Object`.
        headings: whether the columns are described; in a watch only once.
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
    columns, _ = PRINTERS.get(resource.where, PLAIN)
    return columns if resource.where == _EVENTS else (NAME, *columns)


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
    _, printer = PRINTERS.get(resource.where, PLAIN)
    cells = printer(obj, now)
    return cells if resource.where == _EVENTS else [obj["metadata"]["name"], *cells]


def _custom_cell(column: Column, obj: Mapping[str, Any], now: datetime) -> Any:
    try:
        found = compile_path(column.path)(obj)
    except JsonPathError:
        return None
    return cell(column.type, found[0], now) if found else None


def cell(type_: str, value: Any, now: datetime) -> Any:
    """Write a value as a cell of a column's type; None if it does not fit."""
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
        return dict(obj) if resource.view is None else resource.view.encode(obj)
    return {"kind": "PartialObjectMetadata", "apiVersion": _VERSION, "metadata": obj["metadata"]}
