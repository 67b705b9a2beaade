"""Parses request bodies (JSON, YAML, protobuf), and finds duplicate fields for `fieldValidation`."""

import json
import re
from typing import Any, Final

import yaml

from trainingjob_sandbox.apiserver import protobuf
from trainingjob_sandbox.apiserver.errors import ApiError, bad_request


class _Repeated(dict[str, Any]):
    """A JSON object in which a key occurred more than once."""

    repeated: tuple[str, ...] = ()


def parse_body(body: bytes, content_type: str, expected: str = "") -> tuple[Any, list[str]]:
    """Parse a request body.

    Args:
        body: the raw body.
        content_type: its media type.
        expected: the expected kind, for the error message.

    Returns:
        The value, and the paths of duplicate fields (of JSON bodies only).

    Raises:
        ApiError: 400, it cannot be parsed; 415, its media type is not supported.
    """
    if content_type == protobuf.MEDIA_TYPE:
        return protobuf.decode(body), []
    if content_type not in ("", "application/json", "application/yaml"):
        # The caller passes patches as JSON, and handles the patch types.
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
        text = body.decode()
        if content_type == "application/yaml":
            value = yaml.safe_load(text)
        else:
            value = json.loads(text, object_pairs_hook=make)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise bad_request(
            f"the object provided is unrecognized (must be of type {expected}): "
            f"couldn't get version/kind; json parse error: {error} ({body[:256].hex()})"
        ) from error
    if _SURROGATE.search(text) and (path := _not_text(value, "")) is not None:
        # A real server silently replaces it by U+FFFD.
        raise bad_request(
            f"{path or 'the object'} holds one half of a surrogate pair (\\ud800 to \\udfff), which is "
            "not a character: write both halves, or the character itself"
        )
    return value, _paths(value, "") if found else []


_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]|\\U0000[dD][89a-fA-F]")


def _not_text(value: Any, path: str) -> str | None:
    """Return the path of the first string, or object key, that cannot be encoded as UTF-8; else None."""
    if isinstance(value, str):
        return None if _is_text(value) else path
    if isinstance(value, dict):
        if not all(_is_text(name) for name in value):
            return path
        inner = ((each, f"{path}.{name}" if path else name) for name, each in value.items())
    elif isinstance(value, list):
        inner = ((each, f"{path}[{index}]") for index, each in enumerate(value))
    else:
        return None
    return next((found for each, at in inner if (found := _not_text(each, at)) is not None), None)


def _is_text(value: object) -> bool:
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True


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
