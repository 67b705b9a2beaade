"""Waits before the next try, and batches of tries at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

Item = TypeVar("Item")

_DOUBLINGS: Final = 64
"""After so many the wait is the longest one in any case, and a float does not overflow."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """A wait that doubles with each failure in a row, in seconds."""

    first_s: float
    longest_s: float

    def wait_s(self, failures: int) -> float:
        """Return the wait after so many failures in a row."""
        return min(self.longest_s, self.first_s * 2.0 ** min(max(failures - 1, 0), _DOUBLINGS))

    def next_s(self, last_s: float) -> float:
        """Return the wait that follows this one; 0: there was none yet."""
        return min(self.longest_s, max(2.0 * last_s, self.first_s))


def batches(
    items: Sequence[Item], size: int, *, first: int | None = None
) -> Iterator[Sequence[Item]]:
    """Yield the items in batches of at most `size`.

    Args:
        items: all items.
        size: how many at once at most.
        first: how many come first, and then twice as many each time; None: `size`.
    """
    start, count = 0, size if first is None else first
    while start < len(items):
        yield items[start : start + count]
        start, count = start + count, min(2 * count, size)
