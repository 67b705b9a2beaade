"""Cuts a watch's answer into lines, one event each, however the network has cut it before.

Bound: `MAX_LINE` bytes of a line that is not complete. What a longer one has beyond that is dropped
as it comes, and the line is said to have been too long.
"""

from collections.abc import Iterator
from typing import Final

MAX_LINE: Final = 8 * 1024 * 1024
"""Bytes of an event: several times what the API server takes of an object."""


class LineSplitter:
    """The lines of one answer, in order."""

    def __init__(self, max_line: int = MAX_LINE) -> None:
        """Begin an answer.

        Args:
            max_line: bytes of a line at most.
        """
        self._max_line: Final = max_line
        self._parts: Final[list[bytes]] = []  # of the line that is not complete
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """Yield the lines that this part of the answer completes; None for one that was too long.

        Lines without content are left out.
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
