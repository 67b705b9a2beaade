"""How full a structure in memory is, said in one way by all of them.

Every structure that grows with use has a limit. It reports its name, how much of it is used and
the limit, so that the promise of bounded memory can be watched (`/metrics`), and tested.
"""

from typing import NamedTuple, Protocol, runtime_checkable


class Bound(NamedTuple):
    """Use and limit of one structure.

    Attributes:
        name: of the structure, as `/metrics` has it.
        used: how much of it is used now.
        limit: the most that it holds.
    """

    name: str
    used: int
    limit: int


@runtime_checkable
class Bounded(Protocol):
    """A structure in memory that has a limit, or an owner of several."""

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit, as they are now."""
        ...
