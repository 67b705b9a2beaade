"""Iterates over the lines of a streamed response, such as a watch."""

from collections.abc import AsyncGenerator
from typing import Final

import aiohttp

MAX_LINE: Final = 8 * 1024 * 1024
"""Maximum bytes of a line; a Kubernetes object has at most three MiB."""


class LineTooLongError(ValueError):
    """A line is longer than `MAX_LINE` bytes."""


async def iter_lines(stream: aiohttp.StreamReader) -> AsyncGenerator[bytes]:
    """Yield lines of up to `MAX_LINE` bytes; aiohttp's own iteration is limited by its buffer size.

    Raises:
        LineTooLongError: a line is longer.
    """
    pending = bytearray()
    async for chunk in stream.iter_any():
        pending += chunk
        *complete, rest = pending.split(b"\n")
        for line in complete:
            if line:
                yield bytes(line)
        pending = bytearray(rest)
        if len(pending) > MAX_LINE:
            raise LineTooLongError(f"a watch event is longer than {MAX_LINE} bytes")
