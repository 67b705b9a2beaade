"""Parses query parameters and JSON bodies within limits, and makes JSON responses."""

import json
from collections.abc import Collection
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from trainingjob_console.errors import BadRequestError, MediaTypeError, TooLargeError

MAX_BODY_BYTES: Final = 64 * 1024


def reject_unknown_parameters(request: Request, known: Collection[str]) -> None:
    """Reject unknown query parameters: ignoring one, e.g. a misspelt filter, would return too much.

    Raises:
        BadRequestError: a parameter is unknown; the message names it.
    """
    for name in request.query_params:
        if name not in known:
            raise BadRequestError(f"{name[:64]}: unknown parameter")


def int_parameter(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    """Parse a query parameter that is a whole number.

    Raises:
        BadRequestError: it is not a whole number, or out of range.
    """
    text = request.query_params.get(name)
    if text is None or text == "":
        return default
    digits = text.removeprefix("-")
    value = int(text) if digits.isdecimal() and len(digits) < 16 else None  # noqa: PLR2004 - digits
    if value is None or not least <= value <= most:
        raise BadRequestError(f"{name}: must be a whole number from {least} to {most}")
    return value


async def read_json(request: Request) -> dict[str, Any]:
    """Read and parse the JSON body of a request.

    Raises:
        MediaTypeError: the type is not `application/json`, which a form of another page cannot send.
        TooLargeError: the body has more than `MAX_BODY_BYTES`.
        BadRequestError: the body is not a JSON object.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise MediaTypeError("send JSON, with Content-Type: application/json")
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise TooLargeError(f"the body is larger than {MAX_BODY_BYTES} bytes")
    except ClientDisconnect as error:
        raise BadRequestError("the body is incomplete") from error
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError("the body is not JSON") from error
    if not isinstance(value, dict):
        raise BadRequestError("the body must be a JSON object")
    return value


def json_response(value: object, status: int = 200) -> Response:
    """Return a JSON response."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Response(
        body.encode("utf-8", "replace"), status_code=status, media_type="application/json"
    )
