"""The HTTP answer to a socket that is not given, before any upgrade."""

import json

from starlette.types import Send

from trainingjob_console.errors import RequestError


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
