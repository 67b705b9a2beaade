"""Validates types and bounds of custom objects by the CRD's schema, with the real API server's messages.

The schema of a CRD is converted once to a JSON schema, which the `jsonschema` library applies. On an
update only changed fields are validated (ratcheting): an object that was stored before its schema
was tightened can still be updated, as on the real server.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from jsonschema import Draft4Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from trainingjob_sandbox.apiserver.errors import NOT_CHECKED, Cause, quote, required, unsupported

ROOT: Final = "<nil>"
"""The field path that stands for the object itself."""

_BLOCKING: Final = frozenset(
    {
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)
"""Errors after which CEL rules are not evaluated."""

_BOUNDS: Final = {
    "minimum": "should be greater than{equal} {limit}",
    "maximum": "should be less than{equal} {limit}",
    "minLength": "should be at least {limit} chars long",
    "minItems": "should have at least {limit} items",
    "minProperties": "should have at least {limit} properties",
    "pattern": "should match '{limit}'",
    "multipleOf": "should be a multiple of {limit}",
}

_SERVER_FIELDS: Final = frozenset({"apiVersion", "kind", "metadata"})
_NESTED: Final = ("items", "additionalProperties", "not")
_LISTS: Final = ("allOf", "anyOf", "oneOf")
_COPIED: Final = (
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "required",
)

_formats = FormatChecker(formats=())
_GO_DURATION: Final = re.compile(r"[-+]?(0|(\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))+")


@_formats.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    if isinstance(value, str):
        # Python accepts times without `T` and offset, RFC 3339 does not.
        moment = datetime.fromisoformat(value)
        return moment.tzinfo is not None and value[10:11] in ("T", "t")
    return True


@_formats.checks("date", raises=ValueError)
def _is_date(value: object) -> bool:
    return not isinstance(value, str) or bool(date.fromisoformat(value))


@_formats.checks("int32")
def _is_int32(value: object) -> bool:
    return not isinstance(value, int) or -(2**31) <= value < 2**31


@_formats.checks("int64")
def _is_int64(value: object) -> bool:
    return not isinstance(value, int) or -(2**63) <= value < 2**63


@_formats.checks("duration")
def _is_duration(value: object) -> bool:
    return not isinstance(value, str) or _GO_DURATION.fullmatch(value) is not None


@_formats.checks("uuid", raises=ValueError)
def _is_uuid(value: object) -> bool:
    return not isinstance(value, str) or bool(UUID(value))


@_formats.checks("ipv4", raises=ValueError)
def _is_ipv4(value: object) -> bool:
    return not isinstance(value, str) or bool(ipaddress.IPv4Address(value))


@_formats.checks("ipv6", raises=ValueError)
def _is_ipv6(value: object) -> bool:
    return not isinstance(value, str) or bool(ipaddress.IPv6Address(value))


def to_json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a structural schema to a JSON schema (draft 4, the dialect of CRDs)."""
    result: dict[str, Any] = {key: schema[key] for key in _COPIED if key in schema}
    types = _types(schema)
    if types:
        result["type"] = types
    if schema.get("properties"):
        result["properties"] = {
            name: to_json_schema(inner) for name, inner in schema["properties"].items()
        }
    for key in _NESTED:
        if isinstance(schema.get(key), dict):
            result[key] = to_json_schema(schema[key])
    for key in _LISTS:
        if schema.get(key):
            result[key] = [to_json_schema(inner) for inner in schema[key]]
    return result


def _types(schema: Mapping[str, Any]) -> list[str]:
    if schema.get("x-kubernetes-int-or-string"):
        types = ["integer", "string"]
    elif "type" in schema:
        types = [schema["type"]]
    else:
        return []
    return [*types, "null"] if schema.get("nullable") else types


class SchemaValidator:
    """Validates objects of one version of one CRD.

    Args:
        schema: the version's `openAPIV3Schema`.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        converted = to_json_schema(schema)
        properties = converted.pop("properties", {})
        self._root = Draft4Validator(converted, format_checker=_formats)
        self._properties = {
            name: Draft4Validator(inner, format_checker=_formats)
            for name, inner in properties.items()
            if name not in _SERVER_FIELDS
        }

    def validate(self, new: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[Cause]:
        """Return the errors of an object, sorted by field."""
        found = [_Problem((), error) for error in self._root.iter_errors(new)]
        for name, validator in self._properties.items():
            if name not in new or (old is not None and old.get(name) == new[name]):
                continue
            found += [
                _Problem((name,), error) for error in _flatten(validator.iter_errors(new[name]))
            ]
        if old is not None:
            found = [problem for problem in found if not problem.is_unchanged(new, old)]
        causes = [problem.cause() for problem in found]
        return sorted(causes, key=lambda cause: cause.field)


def is_blocking(causes: Sequence[Cause]) -> bool:
    """Return True if the errors prevent the evaluation of CEL rules."""
    return any(cause.reason in _BLOCKING for cause in causes)


def not_checked() -> Cause:
    """Return the cause that says that CEL rules were not checked."""
    return Cause(ROOT, f"Invalid value: null: {NOT_CHECKED}")


def _flatten(errors: Iterator[ValidationError]) -> Iterator[ValidationError]:
    """Replace the error of an `allOf` by its inner errors, which have the field paths."""
    for error in errors:
        if error.validator == "allOf" and error.context:
            yield from _flatten(iter(error.context))
        else:
            yield error


class _Problem:
    """An error of the `jsonschema` library, with its path in the complete object."""

    def __init__(self, prefix: tuple[str, ...], error: ValidationError) -> None:
        self.error = error
        self.keyword = str(error.validator)
        self.limit: Any = error.validator_value
        self._value: Any = error.instance
        self.path: tuple[str | int, ...] = (*prefix, *error.absolute_path)

    def is_unchanged(self, new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
        """Return True if the old object has the same value at this path."""
        before, after = _value_at(old, self.path), _value_at(new, self.path)
        return before is not _ABSENT and before == after

    def cause(self) -> Cause:
        match self.keyword:
            case "required":
                return self._required()
            case "type" | "format" if self.keyword == "type" or isinstance(self._value, str):
                return self._wrong_type()
            case "format" | "oneOf" | "anyOf" | "not":
                return self._on_root()
            case "enum":
                return unsupported(self._field(), self._value, self.limit)
            case "maxLength" | "maxItems" | "maxProperties":
                return self._too_long_or_many()
            case _:
                return self._out_of_bounds()

    def _too_long_or_many(self) -> Cause:
        if self.keyword == "maxLength":
            message = f"Too long: may not be more than {self.limit} bytes"
            return Cause(self._field(), message, "FieldValueTooLong")
        count = len(self._value)
        message = f"Too many: {count}: must have at most {self.limit} items"
        return Cause(self._field(), message, "FieldValueTooMany")

    def _on_root(self) -> Cause:
        """Return the cause for the errors that the real server reports on the root object."""
        field = self._field()
        messages = {
            "oneOf": f'"{field}" must validate one and only one schema (oneOf)',
            "anyOf": f'"{field}" must validate at least one schema (anyOf)',
            "not": f'"{field}" must not validate the schema (not)',
            "format": f"Checked value must be of type integer with format {self.limit} in {field}",
        }
        return Cause(ROOT, f'Invalid value: "": {messages[self.keyword]}')

    def _out_of_bounds(self) -> Cause:
        shown = len(self._value) if self.keyword in ("minItems", "minProperties") else self._value
        pattern = _BOUNDS.get(self.keyword, "must validate {keyword}")
        # In draft 4 an exclusive bound is a bound with a boolean flag.
        flag = {"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}.get(self.keyword)
        schema = self.error.schema if isinstance(self.error.schema, dict) else {}
        equal = "" if flag and schema.get(flag) else " or equal to"
        bound = pattern.format(limit=self.limit, equal=equal, keyword=self.keyword)
        field = self._field()
        return Cause(field, f"Invalid value: {quote(shown)}: {field} in body {bound}")

    def _required(self) -> Cause:
        # The library has the missing name only in its message: `'name' is a required property`.
        missing = re.match(r"'(.*?)' is a required", self.error.message)
        name = missing[1] if missing else str(self.limit)
        return required(field_path((*self.path, name)))

    def _wrong_type(self) -> Cause:
        if self.keyword == "type":
            wanted = ",".join(name for name in self.limit if name != "null")
            shown = quote(type_name(self._value))
        else:
            wanted, shown = self.limit, quote(self._value)
        field = self._field()
        return Cause(
            field,
            f"Invalid value: {shown}: {field} in body must be of type {wanted}: {shown}",
            "FieldValueTypeInvalid",
        )

    def _field(self) -> str:
        return field_path(self.path)


_ABSENT: Final = object()


def _value_at(value: Any, path: Sequence[str | int]) -> Any:
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return _ABSENT
    return value


def field_path(path: Sequence[str | int]) -> str:
    """Format a path as the server does: `spec.containers[0].name`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or ROOT


def type_name(value: object) -> str:
    """Return the JSON type of a value."""
    return "null" if value is None else _TYPE_NAMES[type(value)]


_TYPE_NAMES: Final[Mapping[type, str]] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}
