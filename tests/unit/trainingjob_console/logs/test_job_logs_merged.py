"""A page with merged logs reconnects, and is sent what it misses exactly once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.console.log_page import Page
from tests.support.console.log_server import LogServer, log_server, user
from trainingjob_console.logs.follower import WINDOW

LONG = WINDOW // 4
RANKS = 2


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LogServer]:
    async with log_server(tmp_path, ranks=RANKS) as found:
        yield found


async def write(server: LogServer, first: int, last: int) -> None:
    """Write these lines for each rank; a few of them already exceed the window for late readers."""
    for number in range(first, last + 1):
        for rank in range(RANKS):
            await server.write(f"{number} {'x' * LONG}\n", rank)


def numbers(page: Page) -> list[list[int]]:
    """Return the numbers of the lines that the page was sent, by rank."""
    lines = [line.split() for line in page.read().splitlines()]
    return [
        [int(number) for _, of, number, _ in lines if of == f"{rank}]"] for rank in range(RANKS)
    ]


async def has(page: Page, first: int, last: int) -> None:
    """Wait until it was sent exactly these lines of each rank."""
    wanted = [list(range(first, last + 1))] * RANKS
    async with asyncio.timeout(20):
        while any(not found or found[-1] < last for found in numbers(page)):
            assert not page.task.done(), page.task
            await asyncio.sleep(0.005)
    assert numbers(page) == wanted


def back(server: LogServer, page: Page, places: list[str] | None = None) -> Page:
    """Return the same page, reconnected."""
    known = list(page.places.values()) if places is None else places
    return Page(server, page.caller, "merged", offset=page.next_offset, places=known)


@pytest.mark.parametrize("restarted", [False, True], ids=["a-socket", "the-console"])
async def test_it_resumes_at_the_position_of_each_rank(server: LogServer, restarted: bool) -> None:
    page = Page(server, user("anna"), "merged")
    await write(server, 1, 12)
    await has(page, 1, 12)
    await page.close()
    if restarted:
        await server.job_logs.followers.close()
    await write(server, 13, 24)
    again = back(server, page)
    await has(again, 13, 24)
    assert again.start == page.next_offset
    await write(server, 25, 26)
    await has(again, 13, 26)
    await again.close()


async def test_it_is_sent_the_whole_log_of_a_new_pod(server: LogServer) -> None:
    other = Page(server, user("berta"), "merged")
    page = Page(server, user("anna"), "merged")
    await write(server, 1, 12)
    await asyncio.gather(has(page, 1, 12), has(other, 1, 12))
    await page.close()
    places = [f"0:0:{'0' * 8}:99", page.places["1"]]
    again = back(server, page, places)
    async with asyncio.timeout(20):
        while numbers(again)[0][-1:] != [12]:
            await asyncio.sleep(0.005)
    assert numbers(again) == [list(range(1, 13)), []]
    await again.close()
    await other.close()


async def test_it_is_told_of_a_rotation_of_one_rank(server: LogServer) -> None:
    page = Page(server, user("anna"), "merged")
    await write(server, 1, 12)
    await has(page, 1, 12)
    await page.close()
    await server.job_logs.followers.close()
    server.rotate(1)
    again = back(server, page)
    async with asyncio.timeout(20):
        assert await again.task == "rotated"
    assert numbers(again) == [[], []]


async def test_more_ranks_than_concurrent_catch_ups_are_all_sent(tmp_path: Path) -> None:
    async with log_server(tmp_path, ranks=15) as server:
        page = Page(server, user("anna"), "merged")
        for rank in range(15):
            await server.write("1\n", rank)
        async with asyncio.timeout(20):
            while len(page.read().splitlines()) < 15:
                await asyncio.sleep(0.005)
        await page.close()
        await server.job_logs.followers.close()
        for rank in range(15):
            await server.write("2\n", rank)
        again = back(server, page)
        async with asyncio.timeout(20):
            while len(again.read().splitlines()) < 15:
                assert not again.task.done(), again.task
                await asyncio.sleep(0.005)
        assert sorted(again.read().splitlines()) == sorted(
            f"[rank {rank}] 2" for rank in range(15)
        )
        await again.close()
