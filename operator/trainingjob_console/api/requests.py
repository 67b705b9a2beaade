"""Reading requests: parameters and bodies, each within its limits."""

import json
from collections.abc import Collection
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from trainingjob_console.errors import BadRequestError, MediaTypeError, TooLargeError

MAX_BODY_BYTES: Final = 64 * 1024


def check_names(request: Request, known: Collection[str]) -> None:
    """Refuse a parameter that is not understood: it would narrow nothing.

    Raises:
        BadRequestError: the message names it.
    """
    for name in request.query_params:
        if name not in known:
            raise BadRequestError(f"{name[:64]}: there is no such parameter")


def number(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    """Read a whole number.

    Raises:
        BadRequestError: it is none, or outside its limits.
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
    """Read the body of a write.

    Raises:
        MediaTypeError: it is not `application/json`; a form of another page cannot send that.
        TooLargeError: it has more than `MAX_BODY_BYTES`.
        BadRequestError: it is no object.
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
        raise BadRequestError("the body broke off") from error
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError("the body is no JSON") from error
    if not isinstance(value, dict):
        raise BadRequestError("the body must be an object")
    return value


def answer(value: object, status: int = 200) -> Response:
    """Return JSON, which no cache may keep."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Response(
        body.encode("utf-8", "replace"), status_code=status, media_type="application/json"
    )
