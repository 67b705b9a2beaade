"""Bodies of requests: JSON whose repeated keys are remembered, because clients ask about them."""

import json
from typing import Any

import yaml

from trainingjob_sandbox.apiserver import protobuf
from trainingjob_sandbox.apiserver.errors import ApiError, bad_request


class _Repeated(dict[str, Any]):
    """A JSON object that had the same key more than once."""

    repeated: tuple[str, ...] = ()


def parse(body: bytes, content_type: str, expected: str = "") -> tuple[Any, list[str]]:
    """Read a body.

    Args:
        body: as it came.
        content_type: its media type; YAML is understood, too.
        expected: the kind that should be in it, for the message.

    Returns:
        The value, and the paths of fields that were written more than once.

    Raises:
        ApiError: 400, it cannot be read; 415, its media type is not supported.
    """
    if content_type == protobuf.MEDIA_TYPE:
        return protobuf.decode(body), []
    if content_type not in ("", "application/json", "application/yaml"):
        # Patches come here as JSON as well; what kind of patch was decided before.
        raise ApiError(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json, application/yaml",
        )
    found: list[_Repeated] = []

    def make(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        plain = dict(pairs)
        if len(plain) == len(pairs):
            return plain
        names = [name for name, _ in pairs]
        marked = _Repeated(plain)
        marked.repeated = tuple(sorted({name for name in names if names.count(name) > 1}))
        found.append(marked)
        return marked

    try:
        if content_type == "application/yaml":
            return yaml.safe_load(body), []
        value = json.loads(body, object_pairs_hook=make)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise bad_request(
            f"the object provided is unrecognized (must be of type {expected}): "
            f"couldn't get version/kind; json parse error: {error} ({body[:256].hex()})"
        ) from error
    return value, _paths(value, "") if found else []


def _paths(value: Any, path: str) -> list[str]:
    result: list[str] = []
    if isinstance(value, dict):
        prefix = f"{path}." if path else ""
        if isinstance(value, _Repeated):
            result += [f"{prefix}{name}" for name in value.repeated]
        for name, inner in value.items():
            result += _paths(inner, f"{prefix}{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            result += _paths(item, f"{path}[{index}]")
    return result
