"""Splits a log into small chunks, which the queues of WebSockets hold."""

from collections.abc import Iterator
from typing import Final

from trainingjob_console.sockets.frames import encode
from trainingjob_console.sockets.log_ring import LogChunk

MAX_BYTES: Final = 16_384
MAX_LINES: Final = 32

# UTF-8: least continuation byte, least first byte of a longer character, and lengths by first byte.
_WITHIN: Final = 0x80
_FIRST_BYTE: Final = 0xC0
_LENGTHS: Final = ((0xF0, 4), (0xE0, 3), (0xC0, 2))
_LONGEST: Final = 4


def split_chunks(offset: int, data: bytes) -> Iterator[LogChunk]:
    """Yield data as chunks of whole lines, or of a part of a line that is incomplete or long.

    No chunk ends within a UTF-8 character.

    Args:
        offset: of the data in its log.
        data: ends with a complete character, as far as it is UTF-8.
    """
    at = 0
    while at < len(data):
        end = _end_of(data, at)
        text = data[at:end]
        yield LogChunk(
            offset + at, offset + end, text.count(b"\n"), encode(text.decode("utf-8", "replace"))
        )
        at = end


def incomplete_utf8(data: bytes) -> int:
    """Return the number of bytes at the end that are an incomplete UTF-8 character."""
    for back, byte in enumerate(data[: -_LONGEST - 1 : -1], 1):
        if byte >= _FIRST_BYTE:
            length = next(n for least, n in _LENGTHS if byte >= least)
            return back if length > back else 0
        if byte < _WITHIN:
            break
    return 0


def _end_of(data: bytes, at: int) -> int:
    end = at
    for _ in range(MAX_LINES):
        newline = data.find(b"\n", end, at + MAX_BYTES)
        if newline < 0:
            break
        end = newline + 1
    if end > at:
        return end
    stop = min(at + MAX_BYTES, len(data))
    return stop if stop == len(data) else stop - incomplete_utf8(data[at:stop])
