"""Turns a stream of a program's output into lines that can be shown anywhere."""

import re
from typing import Final

_ESCAPES: Final = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])"
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_MAX_LINE: Final = 64 * 1024
"""Bytes after which a line without an end is shown in pieces."""


class Lines:
    """Splits chunks of bytes into printable lines. What has no line end yet waits, bounded."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that this chunk completes."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        while len(rest) > _MAX_LINE:
            lines.append(rest[:_MAX_LINE])
            rest = rest[_MAX_LINE:]
        self._rest = rest
        return [printable(line) for line in lines]

    def end(self) -> list[str]:
        """The last line, if it has no line end."""
        rest, self._rest = self._rest, b""
        return [printable(rest)] if rest else []


def printable(line: bytes) -> str:
    """The line as text without colours and control characters.

    Of a line that rewrites itself with carriage returns, as progress bars do, the last state.
    """
    text = line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]
    return _CONTROL.sub("", _ESCAPES.sub("", text))
