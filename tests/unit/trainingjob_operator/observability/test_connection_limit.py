"""The choice of the connection that is closed at the limit."""

from trainingjob_operator.observability.connection_limit import ConnectionLimit


class Connection:
    def __init__(self, address: str) -> None:
        self.address = address
        self.is_open = True

    def abort(self) -> None:
        self.is_open = False


def taken(places: ConnectionLimit[Connection], *addresses: str) -> list[Connection]:
    connections = [Connection(address) for address in addresses]
    for each in connections:
        places.add(each)
    return connections


def test_the_oldest_connection_of_the_address_with_the_most_is_evicted() -> None:
    places: ConnectionLimit[Connection] = ConnectionLimit(4)
    probe, first, second, third, latest = taken(places, "node", "pod", "pod", "pod", "other")
    assert len(places) == 4
    assert not first.is_open
    assert all(each.is_open for each in (probe, second, third, latest))
    assert places.closed_total == 1


def test_an_address_with_one_connection_is_not_evicted_by_a_flood_of_another() -> None:
    places: ConnectionLimit[Connection] = ConnectionLimit(8)
    (probe,) = taken(places, "node")
    taken(places, *["pod"] * 1000)
    assert probe.is_open
    assert len(places) == 8


def test_a_new_connection_is_accepted_when_all_addresses_have_one() -> None:
    places: ConnectionLimit[Connection] = ConnectionLimit(2)
    *_, latest = taken(places, "a", "b", "c")
    assert latest.is_open
    assert len(places) == 2


def test_removing_a_connection_twice_counts_once() -> None:
    places: ConnectionLimit[Connection] = ConnectionLimit(2)
    first, _ = taken(places, "a", "a")
    places.remove(first)
    places.remove(first)
    assert len(places) == 1


def test_nothing_is_evicted_without_connections() -> None:
    places: ConnectionLimit[Connection] = ConnectionLimit(2)
    assert not places.evict_one()
