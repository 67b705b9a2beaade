"""The lines of an answer that goes on, as a watch has them."""

from collections.abc import AsyncGenerator
from typing import Final

import aiohttp

MAX_LINE: Final = 8 * 1024 * 1024
"""Bytes of a line: an object of Kubernetes has three MiB at most."""


class LineTooLongError(ValueError):
    """A line has more than `MAX_LINE` bytes."""


async def iter_lines(stream: aiohttp.StreamReader) -> AsyncGenerator[bytes]:
    """Yield lines of any length up to the limit; aiohttp's own iteration stops at its buffer's size.

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
