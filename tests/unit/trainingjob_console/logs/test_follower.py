"""Readers of one log share its stream, but neither rights nor errors."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.console.log_page import Page
from tests.support.console.log_server import LogServer, log_server, user


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LogServer]:
    """A job of two ranks; authorization is not cached."""
    async with log_server(tmp_path, ranks=2, remember=False, recheck_s=0.05) as found:
        yield found


@pytest.fixture
async def pages(server: LogServer) -> AsyncIterator[list[Page]]:
    """Pages of three users; the first one started the follower."""
    await server.write("one\n")
    found = []
    for name in ("anna", "berta", "carla"):
        found.append(Page(server, user(name)))
        await found[-1].has("one\n")
    assert +server.opened == {"anna": 1}
    yield found
    for page in found:
        await page.close()


@pytest.mark.parametrize("kind", ["refused", "unknown"])
async def test_a_reader_who_loses_a_right_or_token_is_told_and_the_others_continue(
    server: LogServer, pages: list[Page], kind: str
) -> None:
    first, *others = pages
    getattr(server, kind).add("anna")
    assert (await first.error()).status == {"refused": 403, "unknown": 401}[kind]
    await server.break_streams()
    await server.write("two\n")
    for page in others:
        await page.has("one\ntwo\n")
    await server.end()
    assert [await page.task for page in others] == ["finished", "finished"]
    assert first.read() == "one\n"
    assert set(server.opened) == {"anna", "berta"}


async def test_a_rejection_by_the_api_server_ends_the_log_only_for_that_user(
    tmp_path: Path,
) -> None:
    # The authorization is still cached: only the request for the log is rejected.
    async with log_server(tmp_path) as server:
        await server.write("one\n")
        anna, berta = Page(server, user("anna")), Page(server, user("berta"))
        await anna.has("one\n")
        await berta.has("one\n")
        for page, other in ((anna, berta), (berta, None)):
            server.refused.add(page.caller.name)
            await server.break_streams()
            assert str(await page.error()) == "you may not read it"
            await server.write("more\n")
            if other is not None:
                await other.has("one\nmore\n")
        server.refused.clear()
        again = Page(server, user("anna"))
        await again.has("one\nmore\nmore\n")
        await again.close()


async def test_a_stream_is_not_opened_with_the_token_of_a_reader_who_has_left(
    server: LogServer, pages: list[Page]
) -> None:
    for page in reversed(pages):
        await page.close()
    await server.break_streams()
    await server.write("two\n")
    latest = Page(server, user("dora"))
    await latest.has("one\ntwo\n")
    assert +server.opened == {"anna": 1, "dora": 1}
    await latest.close()


async def test_a_stream_continues_with_the_next_readers_token_when_its_reader_leaves(
    server: LogServer, pages: list[Page]
) -> None:
    anna, berta, carla = pages
    other_tab = Page(server, user("anna"))
    await other_tab.has("one\n")
    await anna.close()
    await server.write("two\n")
    await berta.has("one\ntwo\n")
    assert +server.opened == {"anna": 1}
    await other_tab.close()
    await server.open_streams({"berta"})
    assert +server.opened == {"anna": 1, "berta": 1}
    await server.write("three\n")
    for page in (berta, carla):
        await page.has("one\ntwo\nthree\n")
    await berta.close()
    await server.open_streams({"carla"})
    await carla.close()
    await server.open_streams(set())
    dora = Page(server, user("dora"))
    await dora.has("one\ntwo\nthree\n")
    await dora.close()


async def test_the_stream_is_closed_when_all_readers_leave_together(
    server: LogServer, pages: list[Page]
) -> None:
    for page in pages:
        page.task.cancel()
    await server.open_streams(set())
    await server.write("two\n")
    last = Page(server, user("dora"))
    await last.has("one\ntwo\n")
    await last.close()


async def test_a_reader_that_leaves_during_a_burst_costs_others_no_line(
    server: LogServer, pages: list[Page]
) -> None:
    anna, berta, carla = pages
    await carla.close()
    burst = "".join(f"{number}\n" for number in range(5000))
    writing = asyncio.create_task(server.write(burst))
    async with asyncio.timeout(20):
        while len(berta.read()) < len(burst) // 4:  # the first reads nothing, and is waited for
            await asyncio.sleep(0.005)
    await anna.close()
    await berta.has("one\n" + burst)
    await writing
    await server.open_streams({"berta"})
    await server.write("more\n")
    await berta.has(f"one\n{burst}more\n")
    assert +server.opened == {"anna": 1, "berta": 1}


async def test_an_unauthorized_reader_gets_no_line_of_a_log_that_others_follow(
    server: LogServer, pages: list[Page]
) -> None:
    server.refused.add("eve")
    for source in ("live:0:0:main", "merged"):
        eve = Page(server, user("eve"), source)
        assert (await eve.error()).status == 403
        assert eve.read() == ""


async def test_merged_logs_are_followed_until_the_right_is_revoked(server: LogServer) -> None:
    await server.write("a\n", 0)
    page, other = Page(server, user("anna"), "merged"), Page(server, user("berta"), "merged")
    await page.has("[rank 0] a\n")
    await server.write("b\n", 1)
    await page.has("[rank 0] a\n[rank 1] b\n")
    server.unknown.add("anna")
    assert (await page.error()).status == 401
    await server.write("c\n", 0)
    await other.has("[rank 0] a\n[rank 1] b\n[rank 0] c\n")
    await server.end()
    server.job_is(is_over=True)
    assert await other.task == "finished"


async def test_a_broken_stream_loses_and_repeats_nothing(
    server: LogServer, pages: list[Page]
) -> None:
    text = "one\n"
    for number in range(5):
        await server.write(f"{number}\n")
        text += f"{number}\n"
        await pages[0].has(text)
        await server.break_streams()
    await server.end()
    for page in pages:
        assert await page.task == "finished"
        assert page.read() == text


async def test_a_deleted_pod_ends_the_log(server: LogServer, pages: list[Page]) -> None:
    server.logs[0].gone = True
    await server.break_streams()
    assert [await page.task for page in pages] == ["archived"] * 3


async def test_a_right_that_cannot_be_checked_ends_a_log_after_a_while(tmp_path: Path) -> None:
    async with log_server(tmp_path, remember=False, recheck_s=0.05, unsure_s=0.2) as server:
        await server.write("one\n")
        page = Page(server, user("anna"))
        await page.has("one\n")
        server.failing = True
        error = await page.error()
        assert error.status == 500
