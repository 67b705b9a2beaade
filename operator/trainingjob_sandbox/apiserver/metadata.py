"""Cleans, completes and validates `metadata`, for objects of all kinds."""

import random
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from trainingjob_sandbox.apiserver import names
from trainingjob_sandbox.apiserver.clock import timestamp
from trainingjob_sandbox.apiserver.errors import (
    ApiError,
    Cause,
    bad_request,
    forbidden_field,
    invalid_value,
    required,
)
from trainingjob_sandbox.apiserver.names import Identity
from trainingjob_sandbox.apiserver.storage import JsonObject

MAX_ANNOTATIONS_BYTES: Final = 262_144

_SUFFIX_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels, so that no words result, and no characters that look alike."""
_SUFFIX_LENGTH: Final = 5
_MAX_GENERATED_BASE: Final = 63 - _SUFFIX_LENGTH

_FIELDS: Final[Mapping[str, type[Any]]] = {
    "name": str,
    "generateName": str,
    "namespace": str,
    "uid": str,
    "resourceVersion": str,
    "generation": int,
    "creationTimestamp": str,
    "deletionTimestamp": str,
    "deletionGracePeriodSeconds": int,
    "labels": dict,
    "annotations": dict,
    "ownerReferences": list,
    "finalizers": list,
}
_IGNORED: Final = frozenset({"managedFields", "selfLink"})
_KEPT: Final = (
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
"""Fields that an update cannot change."""

_GO_TYPES: Final = {bool: "bool", int: "number", float: "number", str: "string", list: "array"}


def clean(obj: Mapping[str, Any], identity: Identity, unknown: list[str]) -> JsonObject:
    """Return an object's metadata without unknown fields.

    Args:
        obj: the object as a client sent it.
        identity: its kind.
        unknown: receives the paths of the dropped fields.

    Raises:
        ApiError: 400, a field has the wrong type.
    """
    given = obj.get("metadata") or {}
    if not isinstance(given, dict):
        raise _wrong_type(identity, given, "metadata", "ObjectMeta")
    result: JsonObject = {}
    for name, value in given.items():
        if name not in _FIELDS:
            if name not in _IGNORED:
                unknown.append(f"metadata.{name}")
        elif value is not None:
            result[name] = _typed(name, value, identity)
    return {name: value for name, value in result.items() if value not in ({}, [], "")}


def _typed(name: str, value: Any, identity: Identity) -> Any:
    """Return a copy of a field's value; raise if its type is wrong."""
    wanted = _FIELDS[name]
    if not isinstance(value, wanted):
        raise _wrong_type(identity, value, f"metadata.{name}", wanted.__name__)
    if isinstance(value, dict):
        _check_each(identity, name, [item for item in value.values() if item is not None], str)
        return {key: item or "" for key, item in value.items()}
    if name == "finalizers":
        _check_each(identity, name, value, str)
        return list(dict.fromkeys(value))
    if isinstance(value, list):
        _check_each(identity, name, value, dict)
        return [dict(item) for item in value]
    return value


def _check_each(identity: Identity, name: str, values: list[Any], wanted: type) -> None:
    for value in values:
        if not isinstance(value, wanted):
            go_type = "string" if wanted is str else "v1.OwnerReference"
            raise _wrong_type(identity, value, f"metadata.{name}", go_type)


def _wrong_type(identity: Identity, value: Any, field: str, wanted: str) -> ApiError:
    found = _GO_TYPES.get(type(value), "object")
    return bad_request(
        f'{identity.kind} in version "{identity.version}" cannot be handled as a '
        f"{identity.kind}: json: cannot unmarshal {found} into Go struct field "
        f"ObjectMeta.{field} of type {wanted}"
    )


def for_create(given: JsonObject, *, namespace: str, now: datetime, generation: bool) -> None:
    """Set the server's fields of a new object: name, uid, creationTimestamp, generation."""
    if not given.get("name") and given.get("generateName"):
        base = given["generateName"][:_MAX_GENERATED_BASE]
        # Not a secret: it only has to be unlikely to collide.
        given["name"] = base + "".join(random.choices(_SUFFIX_LETTERS, k=_SUFFIX_LENGTH))  # noqa: S311
    for name in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds"):
        given.pop(name, None)
    given.pop("generation", None)
    given.pop("namespace", None)
    if namespace:
        given["namespace"] = namespace
    given["uid"] = str(uuid.uuid4())
    given["creationTimestamp"] = timestamp(now)
    if generation:
        given["generation"] = 1


def for_update(given: JsonObject, old: JsonObject) -> None:
    """Restore the fields that an update cannot change."""
    for name in _KEPT:
        given.pop(name, None)
        if name in old:
            given[name] = old[name]


def validate(metadata: JsonObject) -> Iterator[Cause]:
    """Yield the errors of the metadata of a new or changed object."""
    name = metadata.get("name")
    if not name:
        yield required("metadata.name", "name or generateName is required")
    elif problem := names.check_subdomain(name):
        yield invalid_value("metadata.name", name, problem)
    yield from _validate_labels(metadata.get("labels") or {})
    yield from _validate_annotations(metadata.get("annotations") or {})
    yield from _validate_owners(metadata.get("ownerReferences") or [])
    for finalizer in metadata.get("finalizers") or []:
        if problem := names.check_qualified_name(finalizer):
            yield invalid_value("metadata.finalizers", finalizer, problem)


def _validate_labels(labels: Mapping[str, str]) -> Iterator[Cause]:
    for key, value in labels.items():
        if problem := names.check_qualified_name(key):
            yield invalid_value("metadata.labels", key, problem)
        if problem := names.check_label_value(value):
            yield invalid_value("metadata.labels", value, problem)


def _validate_annotations(annotations: Mapping[str, str]) -> Iterator[Cause]:
    for key in annotations:
        if problem := names.check_qualified_name(key.lower()):
            yield invalid_value("metadata.annotations", key, problem)
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > MAX_ANNOTATIONS_BYTES:
        yield Cause(
            "metadata.annotations",
            f"Too long: may not be more than {MAX_ANNOTATIONS_BYTES} bytes",
            "FieldValueTooLong",
        )


def _validate_owners(owners: list[dict[str, Any]]) -> Iterator[Cause]:
    controllers = 0
    for index, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{index}]"
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield required(f"{path}.{field}", "must not be empty")
        controllers += bool(owner.get("controller"))
    if controllers > 1:
        yield Cause(
            "metadata.ownerReferences",
            "Invalid value: Only one reference can have Controller set to true",
        )


def validate_update(new: JsonObject, old: JsonObject) -> Iterator[Cause]:
    """Yield the errors of a change of metadata."""
    if new.get("uid", old["uid"]) != old["uid"]:
        yield invalid_value("metadata.uid", new["uid"], "field is immutable")
    added = set(new.get("finalizers") or ()) - set(old.get("finalizers") or ())
    if old.get("deletionTimestamp") and added:
        listed = ", ".join(f'"{name}"' for name in sorted(added))
        yield forbidden_field(
            "metadata.finalizers",
            "no new finalizers can be added if the object is being deleted, "
            f"found new finalizers []string{{{listed}}}",
        )
