"""Validates CustomResourceDefinitions, and builds the resources that they define."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from trainingjob_sandbox.apiserver import schema
from trainingjob_sandbox.apiserver.cel_rules import CelError, CelRules
from trainingjob_sandbox.apiserver.clock import now, timestamp
from trainingjob_sandbox.apiserver.errors import Cause, invalid_value, quote, required
from trainingjob_sandbox.apiserver.jsonpath import parse_field
from trainingjob_sandbox.apiserver.names import Identity
from trainingjob_sandbox.apiserver.resources import (
    Column,
    Conversion,
    Resource,
    Strategy,
    copy_json,
)
from trainingjob_sandbox.apiserver.storage import CollectionId, JsonObject
from trainingjob_sandbox.apiserver.validation import (
    SchemaValidator,
    is_blocking,
    not_checked,
)

CLEANUP_FINALIZER: Final = "customresourcecleanup.apiextensions.k8s.io"
"""Finalizer of a CRD until all its instances are deleted."""

_READ_WRITE: Final = ("get", "patch", "update")


class CustomStrategy(Strategy):
    """Custom objects: prunes, defaults and validates them by the schema of their CRD.

    Args:
        definition: the schema, `openAPIV3Schema`.
    """

    has_generation = True
    unconditional_update = False
    status_keeps_metadata = True

    def __init__(self, definition: Mapping[str, Any]) -> None:
        self._node = schema.parse_root(definition)
        self._validator = SchemaValidator(definition)
        self._rules = CelRules(definition)

    def decode(self, obj: Mapping[str, Any], unknown: list[str]) -> JsonObject:
        """Return a copy, pruned and defaulted."""
        pruned: JsonObject = schema.prune_and_default(dict(obj), self._node, unknown)
        return pruned

    def validate(self, new: JsonObject, old: JsonObject | None) -> list[Cause]:
        """Validate types, bounds and uniqueness, and then, unless earlier errors block them, the CEL rules."""
        causes = self._validator.validate(new, old)
        if is_blocking(causes):
            return [*causes, not_checked()]
        causes += schema.duplicates(new, self._node)
        return causes + self._rules.validate(new, old)


class CrdStrategy(Strategy):
    """CRDs: defaults and validates them, and sets their condition Established at once."""

    has_generation = True
    unconditional_update = False

    def decode(self, obj: Mapping[str, Any], unknown: list[str]) -> JsonObject:
        """Return a copy with defaulted names and conversion strategy."""
        crd: JsonObject = copy_json(obj)
        spec = crd.setdefault("spec", {})
        spec.setdefault("conversion", {"strategy": "None"})
        kind_names = spec.setdefault("names", {})
        if kind := kind_names.get("kind"):
            kind_names.setdefault("singular", kind.lower())
            kind_names.setdefault("listKind", f"{kind}List")
        return crd

    def prepare_create(self, obj: JsonObject) -> None:
        """Set the conditions NamesAccepted and Established."""
        moment = timestamp(now())

        def condition(type_: str, reason: str, message: str) -> JsonObject:
            return {
                "type": type_,
                "status": "True",
                "lastTransitionTime": moment,
                "reason": reason,
                "message": message,
            }

        spec = obj["spec"]
        obj["status"] = {
            "conditions": [
                condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                condition(
                    "Established", "InitialNamesAccepted", "the initial names have been accepted"
                ),
            ],
            "acceptedNames": copy_json(spec["names"]),
            "storedVersions": [
                version.get("name")
                for version in spec.get("versions") or []
                if version.get("storage")
            ],
        }

    def validate(self, new: JsonObject, old: JsonObject | None) -> list[Cause]:
        """Validate the names and the versions, and compile the CEL rules."""
        causes = list(_validate_names(new))
        versions = new["spec"].get("versions") or []
        if sum(bool(version.get("storage")) for version in versions) != 1:
            causes.append(
                Cause(
                    "spec.versions",
                    f"Invalid value: {quote([v.get('name') for v in versions])}: "
                    "must have exactly one version marked as storage version",
                )
            )
        if old is None or old["spec"] != new["spec"]:
            for index, version in enumerate(versions):
                causes += _validate_version(version, f"spec.versions[{index}]")
        return causes

    def deletion_finalizers(self, obj: JsonObject) -> tuple[str, ...]:
        """Return the finalizer that keeps the CRD until its instances are deleted."""
        return (CLEANUP_FINALIZER,)


def _validate_names(crd: JsonObject) -> Iterator[Cause]:
    spec = crd["spec"]
    for field in ("group", "scope"):
        if not spec.get(field):
            yield required(f"spec.{field}")
    for field in ("plural", "kind"):
        if not spec["names"].get(field):
            yield required(f"spec.names.{field}")
    wanted = f"{spec['names'].get('plural')}.{spec.get('group')}"
    name = crd["metadata"].get("name")
    if name != wanted:
        yield invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group')


def _validate_version(version: Mapping[str, Any], path: str) -> Iterator[Cause]:
    definition = (version.get("schema") or {}).get("openAPIV3Schema")
    if not isinstance(definition, dict):
        yield required(f"{path}.schema.openAPIV3Schema", "schemas are required")
        return
    if definition.get("type") != "object":
        yield required(f"{path}.schema.openAPIV3Schema.type", "must be object at the root")
    try:
        CelRules(definition)
    except CelError as error:
        yield invalid_value(
            f"{path}.schema.{error.path}.x-kubernetes-validations", error.rule, error.problem
        )


def resources_of(crd: Mapping[str, Any]) -> list[Resource]:
    """Return the resources of a CRD, one for each served version."""
    return [
        _resource(crd["spec"], version)
        for version in crd["spec"]["versions"]
        if version.get("served")
    ]


def _resource(spec: Mapping[str, Any], version: Mapping[str, Any]) -> Resource:
    kind_names, definition = spec["names"], version["schema"]["openAPIV3Schema"]
    identity = Identity(spec["group"], version["name"], kind_names["kind"], kind_names["plural"])
    selectable = [item["jsonPath"] for item in version.get("selectableFields") or ()]
    subresources = version.get("subresources") or {}
    return Resource(
        identity=identity,
        namespaced=spec["scope"] == "Namespaced",
        singular=kind_names["singular"],
        list_kind=kind_names["listKind"],
        short_names=tuple(kind_names.get("shortNames") or ()),
        categories=tuple(kind_names.get("categories") or ()),
        subresources={"status": _READ_WRITE} if "status" in subresources else {},
        strategy=CustomStrategy(definition),
        columns=_columns(version),
        field_paths={path.lstrip("."): parse_field(path) for path in selectable},
        conversion=None if version.get("storage") else _other_version(spec, identity),
        stored_as=CollectionId(identity.group, identity.plural),
        custom=True,
        schema=definition,
    )


def _columns(version: Mapping[str, Any]) -> tuple[Column, ...]:
    declared = version.get("additionalPrinterColumns")
    if not declared:
        return (Column("Age", "date", ".metadata.creationTimestamp"),)
    return tuple(
        Column(
            item["name"],
            item["type"],
            item["jsonPath"],
            item.get("priority", 0),
            item.get("description", ""),
        )
        for item in declared
    )


def _other_version(spec: Mapping[str, Any], identity: Identity) -> Conversion:
    """Return the conversion between the stored and another version: only `apiVersion` differs."""
    stored = next(version["name"] for version in spec["versions"] if version.get("storage"))
    stored_version = f"{identity.group}/{stored}"
    return Conversion(
        to_served=lambda obj: {**obj, "apiVersion": identity.api_version},
        to_stored=lambda obj: {**obj, "apiVersion": stored_version},
    )
