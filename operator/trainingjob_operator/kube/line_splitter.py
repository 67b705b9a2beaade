"""Splits the body of a watch response, received in arbitrary chunks, into lines of one event each.

Bound: `MAX_LINE` bytes of an incomplete line. The bytes of a longer line are dropped as they
arrive, and the line is reported as too long.
"""

from collections.abc import Iterator
from typing import Final

MAX_LINE: Final = 8 * 1024 * 1024
"""Bytes of an event: several times the largest object that the API server accepts."""


class LineSplitter:
    """Splits the body of one response."""

    def __init__(self, max_line: int = MAX_LINE) -> None:
        """Begin a response.

        Args:
            max_line: maximum bytes of a line.
        """
        self._max_line: Final = max_line
        self._parts: Final[list[bytes]] = []  # of the incomplete line
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """Yield the lines that this chunk completes; None for a line that was too long.

        Empty lines are skipped.
        """
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._add(end)
            if self._size > self._max_line:
                yield None
            elif self._size:
                yield end if len(self._parts) == 1 else b"".join(self._parts)
            self._parts.clear()
            self._size = 0
        self._add(rest)

    def _add(self, part: bytes) -> None:
        if not part:
            return
        self._size += len(part)
        if self._size > self._max_line:
            self._parts.clear()
        else:
            self._parts.append(part)
