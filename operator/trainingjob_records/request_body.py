"""Reads the body of a request, within its limits of bytes and of time."""

import asyncio
from typing import Final

from starlette.requests import ClientDisconnect, Request

from trainingjob_records.errors import MediaTypeError, SlowRequestError, TooLargeError

BODY_TIMEOUT_S: Final = 10.0
"""The sender's own deadline for the whole exchange is no longer."""


_DISCARDED_BYTES: Final = 16 * 1024 * 1024


async def read_json_body(request: Request, *, max_bytes: int) -> bytes:
    """Return the body as it was sent.

    One that is too large is read to its end, within reason, and thrown away: a sender that is cut
    off while it sends sees a broken connection instead of the answer, and tries again for ever.

    Raises:
        MediaTypeError: it is packed, or said to be something else than JSON.
        TooLargeError: it is larger than `max_bytes`.
        SlowRequestError: it did not come within `BODY_TIMEOUT_S`, or broke off.
    """
    _check_headers(request)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= max_bytes:
                    chunks.append(chunk)
                    continue
                chunks.clear()
                if size > max_bytes + _DISCARDED_BYTES:
                    break
    except TimeoutError as error:
        raise SlowRequestError(f"the body did not come within {BODY_TIMEOUT_S:g} s") from error
    except ClientDisconnect as error:
        raise SlowRequestError("the body broke off") from error
    if size > max_bytes:
        raise TooLargeError(f"the body is larger than {max_bytes} bytes")
    return b"".join(chunks)


def _check_headers(request: Request) -> None:
    media_type = request.headers.get("content-type", "application/json").partition(";")[0]
    if media_type.strip().lower() != "application/json":
        raise MediaTypeError("Content-Type must be application/json")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise MediaTypeError("Content-Encoding is not understood; send the record as it is")
