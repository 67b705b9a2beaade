"""Parses specs that the CRD's schema may not have validated, with clear error messages.

The API server has validated almost every spec that arrives here. The rest was stored under an older
CRD, or edited in etcd. An invalid one must fail its own job only, and never crash the operator.
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
"""Maximum nesting of a template, because copying it recurses. A pod's deepest field is at level 15."""

MAX_VALUES: Final = 100_000
"""Maximum number of values in a template, many times what fits into an object in etcd."""

_MAX_ECHO: Final = 40
"""Maximum number of characters of the user's text that a message quotes."""

_MAX_BITS: Final = 64
"""Maximum size of a number in a message: longer ones are slow to format, and Python limits them."""

_MAX_MESSAGE: Final = 400


def parse_spec(raw: object) -> TrainingJobSpec:
    """Parse `spec` of a TrainingJob.

    Args:
        raw: any decoded JSON value.

    Returns:
        The spec with its defaults.

    Raises:
        InvalidSpecError: the spec is invalid; the message is one line of less than 1024 bytes, such as
            `spec.numNodes: must be a whole number from 1 to 1000, not 0`.
    """
    try:
        spec = TrainingJobSpec.model_validate(raw, by_alias=True, by_name=False)
    except ValidationError as error:
        # Not chained: pydantic's message quotes the input, which must not end up in a log.
        raise InvalidSpecError(_message(error, TrainingJobSpec)) from None
    _check_size(spec.template)
    return spec


def parse_policy(raw: object) -> RetentionPolicySpec:
    """Parse `spec` of a RetentionPolicy; an absent one is empty.

    Raises:
        InvalidSpecError: the spec is invalid; the message is one line, as above.
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
    """Return the schema of a field or an item; None if there is none (inside a template)."""
    below: Schema | None = node.get("items" if isinstance(step, int) else "properties")
    return below if isinstance(step, int) or below is None else below.get(step)


def _complaint(error: ErrorDetails, node: Schema) -> str:
    if error["type"] == "missing":
        return f"is required and {_expectation(node)}"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return f"{_expectation(node)}, not {_echo(error['input'])}"


def _expectation(node: Schema) -> str:
    """Return a description of the values that the schema allows."""
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
    """Return a short, printable description of the invalid value, without traversing it."""
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
    """Reject a template that is too large or too deep to copy, level by level to avoid recursion."""
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
