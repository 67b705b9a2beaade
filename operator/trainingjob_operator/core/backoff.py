"""Exponential back-off, and splitting of a list into (growing) batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

Item = TypeVar("Item")

_DOUBLINGS: Final = 64
"""Limit of the exponent, so that a float does not overflow."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """A wait in seconds that doubles with each consecutive failure."""

    first_s: float
    longest_s: float

    def wait_s(self, failures: int) -> float:
        """Return the wait after this many consecutive failures."""
        return min(self.longest_s, self.first_s * 2.0 ** min(max(failures - 1, 0), _DOUBLINGS))

    def next_s(self, last_s: float) -> float:
        """Return the wait that follows `last_s`; 0: there was none before."""
        return min(self.longest_s, max(2.0 * last_s, self.first_s))


def batches(
    items: Sequence[Item], size: int, *, first: int | None = None
) -> Iterator[Sequence[Item]]:
    """Yield the items in batches of at most `size`.

    Args:
        items: all items.
        size: maximum size of a batch.
        first: size of the first batch; each further one is twice as large. None: `size`.
    """
    start, count = 0, size if first is None else first
    while start < len(items):
        yield items[start : start + count]
        start, count = start + count, min(2 * count, size)
