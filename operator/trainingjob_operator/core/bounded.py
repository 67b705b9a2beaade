"""The interface by which in-memory structures report their current size and their limit.

Every structure that grows with use has a limit. It reports its name, its size and the limit, so
that bounded memory can be monitored (`/metrics`) and tested.
"""

from typing import NamedTuple, Protocol, runtime_checkable


class Bound(NamedTuple):
    """Size and limit of one structure.

    Attributes:
        name: the label of the structure in `/metrics`.
        used: its current size.
        limit: its maximum size.
    """

    name: str
    used: int
    limit: int


@runtime_checkable
class Bounded(Protocol):
    """An in-memory structure that has a limit, or an object that owns several."""

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Current size and limit of each structure."""
        ...
