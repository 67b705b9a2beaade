"""Types and bounds of custom objects, in the words of the real API server.

The schema of a CRD becomes a JSON schema once; the `jsonschema` library applies it. On an update
only what changed is judged: an object that was stored before its schema was tightened can still be
written, as on the real server.
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
"""The server's name for the object itself where it would name a field."""

_BLOCKING: Final = frozenset(
    {
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)
"""Errors after which the CEL rules are not even tried."""

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
        # `T` and an offset are optional to Python, not to RFC 3339.
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
    """Turn a structural schema into a JSON schema (draft 4, whose dialect CRDs write)."""
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
    """Judges objects of one version of one CRD.

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
        """Say what is wrong with an object, in the order of the fields."""
        found = [_Problem((), error) for error in self._root.iter_errors(new)]
        for name, validator in self._properties.items():
            if name not in new or (old is not None and old.get(name) == new[name]):
                continue
            found += [
                _Problem((name,), error) for error in _flatten(validator.iter_errors(new[name]))
            ]
        if old is not None:
            found = [problem for problem in found if not problem.was_there(new, old)]
        causes = [problem.cause() for problem in found]
        return sorted(causes, key=lambda cause: cause.field)


def is_blocking(causes: Sequence[Cause]) -> bool:
    """Say whether the errors are such that rules cannot be evaluated at all."""
    return any(cause.reason in _BLOCKING for cause in causes)


def not_checked() -> Cause:
    """Say that there may be more errors than those listed."""
    return Cause(ROOT, f"Invalid value: null: {NOT_CHECKED}")


def _flatten(errors: Iterator[ValidationError]) -> Iterator[ValidationError]:
    """Replace the error of an `allOf` by those inside it: only they say where."""
    for error in errors:
        if error.validator == "allOf" and error.context:
            yield from _flatten(iter(error.context))
        else:
            yield error


class _Problem:
    """An error of the library, and where in the whole object it is."""

    def __init__(self, prefix: tuple[str, ...], error: ValidationError) -> None:
        self.error = error
        self.keyword = str(error.validator)
        self.limit: Any = error.validator_value
        self._value: Any = error.instance
        self.path: tuple[str | int, ...] = (*prefix, *error.absolute_path)

    def was_there(self, new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
        """Say whether the old object had the very same value in that place."""
        before, after = _at(old, self.path), _at(new, self.path)
        return before is not _ABSENT and before == after

    def cause(self) -> Cause:
        match self.keyword:
            case "required":
                return self._required()
            case "type" | "format" if self.keyword == "type" or isinstance(self._value, str):
                return self._wrong_type()
            case "format" | "oneOf" | "anyOf" | "not":
                return self._of_no_field()
            case "enum":
                return unsupported(self._field(), self._value, self.limit)
            case "maxLength" | "maxItems" | "maxProperties":
                return self._too_much()
            case _:
                return self._out_of_bounds()

    def _too_much(self) -> Cause:
        if self.keyword == "maxLength":
            message = f"Too long: may not be more than {self.limit} bytes"
            return Cause(self._field(), message, "FieldValueTooLong")
        count = len(self._value)
        message = f"Too many: {count}: must have at most {self.limit} items"
        return Cause(self._field(), message, "FieldValueTooMany")

    def _of_no_field(self) -> Cause:
        """The few errors that the real server blames on the whole object."""
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
        # In draft 4 a bound that is not reached is a bound with a flag beside it.
        flag = {"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}.get(self.keyword)
        schema = self.error.schema if isinstance(self.error.schema, dict) else {}
        equal = "" if flag and schema.get(flag) else " or equal to"
        bound = pattern.format(limit=self.limit, equal=equal, keyword=self.keyword)
        field = self._field()
        return Cause(field, f"Invalid value: {quote(shown)}: {field} in body {bound}")

    def _required(self) -> Cause:
        # The library gives the missing name in its message only: `'name' is a required property`.
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


def _at(value: Any, path: Sequence[str | int]) -> Any:
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return _ABSENT
    return value


def field_path(path: Sequence[str | int]) -> str:
    """Write a path as the server does: `spec.containers[0].name`."""
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
