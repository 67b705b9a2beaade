"""Loopback addresses are allocated to pods by name, and freed with the last pod of an attempt."""

from trainingjob_sandbox.node.addresses import AddressBook

GANG = "digits-0a1b2c3d-0"


def book() -> AddressBook:
    return AddressBook(own_addresses=True)


def test_the_first_addresses_are_the_lowest() -> None:
    addresses = book()

    assert addresses.acquire("ns", f"{GANG}-0", "u0") == "127.64.0.1"
    assert addresses.acquire("ns", f"{GANG}-1", "u1") == "127.64.0.2"
    assert addresses.acquire("ns", f"{GANG}-0", "u0") == "127.64.0.1"


def test_a_rank_that_is_mentioned_before_it_runs_keeps_that_address() -> None:
    addresses = book()
    addresses.acquire("ns", f"{GANG}-1", "u1")

    mentioned = addresses.address("ns", f"{GANG}-0")

    assert mentioned == addresses.acquire("ns", f"{GANG}-0", "u0")


def test_addresses_are_free_again_when_the_last_pod_of_the_attempt_is_gone() -> None:
    addresses = book()
    addresses.acquire("ns", f"{GANG}-0", "u0")
    addresses.acquire("ns", f"{GANG}-1", "u1")
    addresses.address("ns", f"{GANG}-2")

    addresses.release("ns", f"{GANG}-0", "u0")
    assert len(addresses) == 3

    addresses.release("ns", f"{GANG}-1", "u1")
    assert len(addresses) == 0
    assert addresses.acquire("ns", "other-00000000-0-0", "u9") == "127.64.0.1"


def test_two_namespaces_do_not_share_addresses() -> None:
    addresses = book()

    assert addresses.acquire("a", f"{GANG}-0", "u0") != addresses.acquire("b", f"{GANG}-0", "u1")


def test_a_machine_without_a_loopback_network_shares_the_one_address() -> None:
    addresses = AddressBook(own_addresses=False)

    assert addresses.acquire("ns", f"{GANG}-0", "u0") == "127.0.0.1"
    assert addresses.address("ns", f"{GANG}-1") == "127.0.0.1"
    assert len(addresses) == 0
