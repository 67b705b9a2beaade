"""Which connections to the operator's port are open, and which one closes to make room.

Bound: `limit` connections in all. A new one is always taken in; at the limit the oldest one of the
address that has the most is closed for it. So one pod that opens thousands of connections closes
its own, and the probes of the kubelet and the scrapes of Prometheus, with one or two, get through.
"""

from collections import OrderedDict
from typing import Final, Generic, Protocol, TypeVar

from trainingjob_operator.core.bounded import Bound


class Closable(Protocol):
    """A connection, as far as this module is concerned."""

    @property
    def address(self) -> str:
        """The address of the other side, without its port."""
        ...

    def abort(self) -> None:
        """Close it at once, whatever is under way."""
        ...


_Connection = TypeVar("_Connection", bound=Closable)


class ConnectionLimit(Generic[_Connection]):
    """Open connections by address, oldest first."""

    def __init__(self, limit: int, bound: str = "web_connections") -> None:
        """Start with none.

        Args:
            limit: connections in all.
            bound: the name of this limit.
        """
        self.limit: Final = limit
        self._bound: Final = bound
        self._open: Final[dict[str, OrderedDict[_Connection, None]]] = {}
        self._used = 0
        self.closed_total = 0

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit."""
        return (Bound(self._bound, len(self), self.limit),)

    def __len__(self) -> int:
        return self._used

    def add(self, connection: _Connection) -> None:
        """Take in a connection, and close another one if there is no room."""
        if self._used >= self.limit:
            self.evict_one()
        self._open.setdefault(connection.address, OrderedDict())[connection] = None
        self._used += 1

    def evict_one(self) -> bool:
        """Close the oldest connection of the address that has the most; False: there is none.

        Takes time in proportion to the addresses, which are `limit` at most.
        """
        if not self._open:
            return False
        largest = max(self._open.values(), key=len)
        victim = next(iter(largest))
        self.remove(victim)
        self.closed_total += 1
        victim.abort()
        return True

    def remove(self, connection: _Connection) -> None:
        """Forget a connection that is closed. Does nothing if that was done before."""
        of_address = self._open.get(connection.address)
        if of_address is None or connection not in of_address:
            return
        del of_address[connection]
        self._used -= 1
        if not of_address:
            del self._open[connection.address]

    def close_all(self) -> None:
        """Close every connection."""
        for connection in [each for of_address in self._open.values() for each in of_address]:
            self.remove(connection)
            connection.abort()
