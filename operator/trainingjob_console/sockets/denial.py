"""Sockets that are not given, and the HTTP answer before any upgrade."""

import json
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from starlette.types import Send

from trainingjob_console.errors import ForbiddenError, RequestError


def check_origin(headers: Mapping[str, str], allowed: Collection[str]) -> None:
    """Refuse a page of another site: a browser sends it the user's cookie all the same.

    Args:
        headers: of the request.
        allowed: origins beside the console's own.

    Raises:
        ForbiddenError: it is one, or a program that has no token of its own to show.
    """
    origin = headers.get("origin", "").lower()
    if not origin and "authorization" in headers:
        return
    if origin not in allowed and urlsplit(origin).netloc != headers.get("host", "").lower():
        raise ForbiddenError("open the console's own page: this one is of another site")


async def deny(send: Send, error: RequestError) -> None:
    """Answer the request with an error in the form of all others."""
    body = json.dumps({"error": {"reason": error.reason, "message": str(error)}}).encode()
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    if error.retry_after_s:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    await send(
        {"type": "websocket.http.response.start", "status": error.status, "headers": headers}
    )
    await send({"type": "websocket.http.response.body", "body": body})
