"""Reads the JSON body of a request, with a size limit and a timeout."""

import asyncio
from typing import Final

from starlette.requests import ClientDisconnect, Request

from trainingjob_records.errors import MediaTypeError, SlowRequestError, TooLargeError

BODY_TIMEOUT_S: Final = 10.0
"""The operator's own deadline for the whole request is no longer than this."""


_DISCARDED_BYTES: Final = 16 * 1024 * 1024


async def read_json_body(request: Request, *, max_bytes: int) -> bytes:
    """Return the body as it was sent.

    A body that is too large is read to its end (up to 16 MiB above the limit) and discarded. If the
    connection were closed while the sender still sends, the sender would see a broken connection
    instead of the 413, and would retry for ever.

    Raises:
        MediaTypeError: the body is compressed, or its Content-Type is not JSON.
        TooLargeError: the body is larger than `max_bytes`.
        SlowRequestError: the body was not received within `BODY_TIMEOUT_S`, or broke off.
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
        raise SlowRequestError(f"the body was not received within {BODY_TIMEOUT_S:g} s") from error
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
        raise MediaTypeError("Content-Encoding is not supported; send the record uncompressed")
