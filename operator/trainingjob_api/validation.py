"""Reads specs that may have got past the schema, and says what is wrong.

The API server has checked almost every spec that arrives here. The rest was stored under an older
CRD, or by a hand in the store; it must cost one job its start, not the operator its life.
"""

import json
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from trainingjob_api.errors import InvalidSpecError
from trainingjob_api.retention_policy import RetentionPolicySpec
from trainingjob_api.structural import Schema, structural_schema
from trainingjob_api.training_job import TrainingJobSpec

MAX_DEPTH: Final = 64
"""Levels of a template. The deepest field of a pod is at 15; copying a template recurses."""

MAX_VALUES: Final = 100_000
"""Values in a template, many times what fits into an object that etcd takes."""

_MAX_ECHO: Final = 40
"""Characters of the user's own text that a message repeats."""

_MAX_BITS: Final = 64
"""Longer numbers are slow to print, and Python refuses the longest."""

_MAX_MESSAGE: Final = 400


def parse_spec(raw: object) -> TrainingJobSpec:
    """Read `spec` of a TrainingJob.

    Args:
        raw: the value as decoded from JSON, whatever it is.

    Returns:
        The spec with defaults in place.

    Raises:
        InvalidSpecError: it cannot be understood; the message is one line of less than 1024
            bytes, as in `spec.numNodes: must be a whole number from 1 to 1000, not 0`.
    """
    try:
        spec = TrainingJobSpec.model_validate(raw, by_alias=True, by_name=False)
    except ValidationError as error:
        # Messages are our own, and pydantic's input may be anything: no chaining into a log.
        raise InvalidSpecError(_message(error, TrainingJobSpec)) from None
    _check_size(spec.template)
    return spec


def parse_policy(raw: object) -> RetentionPolicySpec:
    """Read `spec` of a RetentionPolicy; without one, a policy says nothing.

    Raises:
        InvalidSpecError: it cannot be understood; the message is one line, as above.
    """
    try:
        return RetentionPolicySpec.model_validate(
            {} if raw is None else raw, by_alias=True, by_name=False
        )
    except ValidationError as error:
        raise InvalidSpecError(_message(error, RetentionPolicySpec)) from None


def _message(error: ValidationError, model: type[BaseModel]) -> str:
    errors = error.errors(include_url=False)
    first, more = errors[0], len(errors) - 1
    node, path = structural_schema(model), "spec"
    for step in first["loc"]:
        below = _below(node, step)
        if below is None:
            break
        node, path = below, f"{path}[{step}]" if isinstance(step, int) else f"{path}.{step}"
    message = f"{path}: {_complaint(first, node)}"
    if more:
        message += f" (and {more} more)"
    return message[:_MAX_MESSAGE]


def _below(node: Schema, step: int | str) -> Schema | None:
    """The schema of a field or an item; None where the schema ends (a template's inside)."""
    below: Schema | None = node.get("items" if isinstance(step, int) else "properties")
    return below if isinstance(step, int) or below is None else below.get(step)


def _complaint(error: ErrorDetails, node: Schema) -> str:
    if error["type"] == "missing":
        return f"is required and {_expectation(node)}"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return f"{_expectation(node)}, not {_echo(error['input'])}"


def _expectation(node: Schema) -> str:
    """Return in words what the schema allows."""
    if "enum" in node:
        return f"must be one of {', '.join(node['enum'])}"
    match node["type"]:
        case "integer":
            return f"must be a whole number from {node['minimum']} to {node['maximum']}"
        case "boolean":
            return "must be true or false"
        case "string":
            shape = f" that matches {node['pattern']}" if "pattern" in node else ""
            return f"must be text of at most {node['maxLength']} characters{shape}"
        case "array":
            return f"must be a list of {node.get('minItems', 0)} to {node['maxItems']} entries"
        case _:
            return "must be an object"


def _echo(value: object) -> str:
    """A hint at what was found: short, printable, and never the work of walking it."""
    match value:
        case None | bool():
            found = json.dumps(value)
        case int() if value.bit_length() > _MAX_BITS:
            found = "a number that large"
        case int() | float():
            found = str(value)
        case str():
            found = ascii(value[:_MAX_ECHO]) + ("..." if len(value) > _MAX_ECHO else "")
        case list() | tuple():
            found = f"a list of {len(value)}"
        case dict():
            found = "an object"
        case _:
            found = "this"
    return found


def _check_size(template: dict[str, Any]) -> None:
    """Refuse what could not be copied. Level by level, because recursion is what it guards."""
    level: list[Any] = [template]
    seen = 0
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            children = value.values() if isinstance(value, dict) else value
            seen += len(children)
            if seen > MAX_VALUES:
                raise InvalidSpecError(
                    f"spec.template: must hold at most {MAX_VALUES} values; shorten it"
                )
            below += [child for child in children if isinstance(child, dict | list)]
        if not below:
            return
        level = below
    raise InvalidSpecError(f"spec.template: must be nested at most {MAX_DEPTH} levels deep")
