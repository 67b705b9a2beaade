"""A host name that resolves to several operators."""

import asyncio
from collections.abc import Sequence

import pytest

from trainingjob_console.samples import addresses
from trainingjob_console.samples.addresses import MAX_OPERATORS, Addresses, resolve

SERVICE = "http://operators.system.svc:8080/metrics"


class Names:
    """Resolves names to the addresses that a test sets."""

    def __init__(self, found: Sequence[str]) -> None:
        self.found = found
        self.asked: list[tuple[str, int]] = []

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        if not self.found:
            raise OSError("no such name")
        return self.found


async def test_each_address_of_a_name_is_scraped_and_the_name_is_resolved_again() -> None:
    names = Names(["10.0.0.1", "10.0.0.2"])
    operators = Addresses([SERVICE], names.resolve)
    assert await operators.resolved() == [
        "http://10.0.0.1:8080/metrics",
        "http://10.0.0.2:8080/metrics",
    ]
    names.found = ["fd00::7"]
    assert await operators.resolved() == ["http://[fd00::7]:8080/metrics"]
    assert names.asked == [("operators.system.svc", 8080)] * 2


async def test_a_name_that_cannot_be_resolved_is_returned_unchanged() -> None:
    assert await Addresses([SERVICE], Names([]).resolve).resolved() == [SERVICE]


async def test_there_are_at_most_eight_addresses() -> None:
    names = Names([f"10.0.0.{n}" for n in range(20)])
    assert len(await Addresses([SERVICE], names.resolve).resolved()) == MAX_OPERATORS
    several = Addresses([f"http://10.0.0.{n}/metrics" for n in range(20)])
    assert len(await several.resolved()) == MAX_OPERATORS


async def test_urls_with_addresses_are_unchanged() -> None:
    written = ["http://127.0.0.1:8080/metrics", "http://[::1]/metrics"]
    assert await Addresses(written).resolved() == written


async def test_one_thread_waits_for_a_name_server_that_does_not_respond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, answers = 0, asyncio.Event()

    async def slow(host: str, port: int) -> Sequence[str]:
        nonlocal asked
        asked += 1
        await answers.wait()
        return ["10.0.0.1"]

    operators = Addresses([SERVICE], slow)
    monkeypatch.setattr(addresses, "_RESOLVE_TIMEOUT_S", 0.01)
    for _ in range(3):
        assert await operators.resolved() == [SERVICE]
    assert asked == 1
    answers.set()
    await asyncio.sleep(0)
    assert await operators.resolved() == ["http://10.0.0.1:8080/metrics"]
    assert asked == 1


async def test_the_system_resolver_is_used() -> None:
    assert await resolve("127.0.0.1", 80) == ["127.0.0.1"]
