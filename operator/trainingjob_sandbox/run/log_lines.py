"""Splits a byte stream of logs into lines, and strips terminal escapes and control characters."""

import re
from typing import Final

_ESCAPES: Final = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])"
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_MAX_LINE: Final = 64 * 1024
"""Maximum bytes of a line: a longer one is split."""


class LogLineSplitter:
    """Splits chunks of bytes into printable lines. Buffers an incomplete line, up to `_MAX_LINE` bytes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        """Add a chunk; return the lines that it completes."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        while len(rest) > _MAX_LINE:
            lines.append(rest[:_MAX_LINE])
            rest = rest[_MAX_LINE:]
        self._rest = rest
        return [printable(line) for line in lines]

    def flush(self) -> list[str]:
        """Return the buffered incomplete line, if there is one, and clear the buffer."""
        rest, self._rest = self._rest, b""
        return [printable(rest)] if rest else []


def printable(line: bytes) -> str:
    """Return the line as text, without colours and control characters.

    A line that is overwritten with carriage returns, as progress bars do, is reduced to its last state.
    """
    text = line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]
    return _CONTROL.sub("", _ESCAPES.sub("", text))
