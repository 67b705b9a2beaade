"""Converts a pydantic model's JSON schema into a structural schema for a CRD.

A structural schema has no references, no unions and a type at every node. Null is not a value: the
API server drops it, and so do the models.
"""

from functools import cache
from typing import Any, Final

from pydantic import BaseModel

Schema = dict[str, Any]

_ORDER: Final = ("description", "type", "format", "enum", "default", "required")
"""Keywords that are written first, for people who read the CRD."""

_LAST: Final = ("properties", "additionalProperties", "items", "x-kubernetes-validations")

_DROPPED: Final = ("$defs", "$ref", "anyOf", "title", "propertyNames", "const")


@cache
def structural_schema(model: type[BaseModel]) -> Schema:
    """Return the structural schema of a model. It is cached: copy it before changing it."""
    schema = model.model_json_schema(by_alias=True)
    return _translate(schema, schema.get("$defs", {}))


def _translate(node: Schema, definitions: dict[str, Schema]) -> Schema:
    merged = {key: value for key, value in node.items() if key not in _DROPPED}
    for base in _bases(node, definitions):
        merged = _translate(base, definitions) | merged
    if "const" in node:
        merged["enum"] = [node["const"]]
    if merged.get("default", ...) is None:
        del merged["default"]
    elif "default" in merged:
        merged["default"] = _without_nulls(merged["default"])
    if "description" in merged:
        merged["description"] = " ".join(merged["description"].split())
    if merged.get("additionalProperties") is True:
        del merged["additionalProperties"]
        merged["x-kubernetes-preserve-unknown-fields"] = True
    elif "additionalProperties" in merged:
        merged["additionalProperties"] = _translate(merged["additionalProperties"], definitions)
    if "items" in merged:
        merged["items"] = _translate(merged["items"], definitions)
    if "properties" in merged:
        merged["properties"] = {
            name: _translate(child, definitions) for name, child in merged["properties"].items()
        }
    return _ordered(merged)


def _bases(node: Schema, definitions: dict[str, Schema]) -> list[Schema]:
    """Return the schemas to merge into a node: a `$ref` definition, or a union's non-null options."""
    if "$ref" in node:
        return [definitions[node["$ref"].rpartition("/")[2]]]
    return [option for option in node.get("anyOf", ()) if option.get("type") != "null"]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


def _ordered(node: Schema) -> Schema:
    middle = sorted(set(node) - set(_ORDER) - set(_LAST))
    return {key: node[key] for key in (*_ORDER, *middle, *_LAST) if key in node}
