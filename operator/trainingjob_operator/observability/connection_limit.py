"""Limits the open connections to the operator's port, and chooses which one to close at the limit.

Bound: `limit` connections in all. A new connection is always accepted. At the limit, the oldest
connection of the address with the most connections is closed for it. So a pod that opens thousands
of connections closes its own ones, and the kubelet's probes and Prometheus' scrapes, which have one
or two, are not affected.
"""

from collections import OrderedDict
from typing import Final, Generic, Protocol, TypeVar

from trainingjob_operator.core.bounded import Bound


class Closable(Protocol):
    """A connection with an address that can be closed."""

    @property
    def address(self) -> str:
        """The client's IP address, without the port."""
        ...

    def abort(self) -> None:
        """Close the connection at once."""
        ...


_Connection = TypeVar("_Connection", bound=Closable)


class ConnectionLimit(Generic[_Connection]):
    """Open connections by address, oldest first."""

    def __init__(self, limit: int, bound: str = "web_connections") -> None:
        """Start without connections.

        Args:
            limit: limit of open connections.
            bound: name of this limit in `/metrics`.
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
        """Add a connection; at the limit, close another one first."""
        if self._used >= self.limit:
            self.evict_one()
        self._open.setdefault(connection.address, OrderedDict())[connection] = None
        self._used += 1

    def evict_one(self) -> bool:
        """Close the oldest connection of the address with the most; return False if none is open.

        The time is proportional to the number of addresses, which is at most `limit`.
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
        """Remove a closed connection; do nothing if it was removed before."""
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
