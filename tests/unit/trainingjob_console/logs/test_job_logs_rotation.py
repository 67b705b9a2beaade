"""Log rotation: offsets count from the beginning of the file that is read."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.console.log_page import Page
from tests.support.console.log_server import LogServer, log_server, user
from trainingjob_console.logs.follower import WINDOW
from trainingjob_console.logs.sources import parse_source

OLD = "".join(f"old {number:08}\n" for number in range(2 * WINDOW // 13))
NEW = "new\n"
FIRST = "2026-01-01T00:00:00.000000000Z"
"""Of the old file: the time of its first line."""

LONGER = OLD.replace("old", "longer")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LogServer]:
    """A log that exceeds the window for late readers."""
    async with log_server(tmp_path) as found:
        await found.write(OLD)
        yield found


@pytest.fixture
async def early(server: LogServer) -> AsyncIterator[Page]:
    """A page that has followed since before the rotation."""
    page = Page(server, user("anna"))
    await page.has(OLD)
    server.rotate()
    await server.write(NEW)
    await page.has(OLD + NEW)
    yield page
    await page.close()


async def test_a_page_that_reconnects_after_a_rotation_is_told_of_it(server: LogServer) -> None:
    server.rotate()
    await server.write(NEW)
    page = Page(server, user("anna"), offset=len(OLD))
    async with asyncio.timeout(20):
        assert await page.task == "rotated"
    assert page.read() == ""


async def test_a_later_page_continues_at_its_offset_in_the_new_file(
    server: LogServer, early: Page
) -> None:
    late = Page(server, user("berta"), offset=len(NEW))
    await server.write("more\n")
    await late.has("more\n")
    assert (late.start, late.next_offset) == (len(NEW), len(NEW) + 5)
    await early.has(OLD + NEW + "more\n")
    assert early.next_offset == len(OLD) + len(NEW) + 5
    await late.close()


async def test_the_follower_of_the_old_file_ends_with_its_last_reader(
    server: LogServer, early: Page
) -> None:
    followers = server.job_logs.followers
    late = Page(server, user("berta"))
    await late.has(NEW)
    assert len(followers) == 2
    await early.close()
    assert len(followers) == 1
    await server.write("more\n")
    await late.has(NEW + "more\n")
    await late.close()


async def test_a_page_that_is_behind_at_a_rotation_is_told_of_it(
    server: LogServer, early: Page
) -> None:
    behind = Page(server, user("berta"), offset=10 + len(NEW))
    async with asyncio.timeout(20):
        assert await behind.task == "rotated"
    again = Page(server, user("berta"), offset=len(NEW))
    await server.write("more\n")
    await again.has("more\n")
    await again.close()


async def test_merged_logs_continue_after_a_rotation(server: LogServer) -> None:
    merged = Page(server, user("carla"), "merged")
    text = OLD.replace("old", "[rank 0] old")
    await merged.has(text)
    server.rotate()
    await server.write(NEW)
    late = Page(server, user("berta"), offset=len(NEW))
    await server.write("more\n")
    await late.has("more\n")
    await merged.has(f"{text}[rank 0] {NEW}[rank 0] more\n")
    await merged.close()
    await late.close()


async def test_a_rotation_is_reported_even_if_the_new_file_has_the_offset(
    server: LogServer,
) -> None:
    """The new file has grown beyond the offset, so its length does not show the rotation."""
    server.rotate()
    await server.write(LONGER)
    page = Page(server, user("anna"), offset=len(OLD), file=FIRST)
    async with asyncio.timeout(20):
        assert await page.task == "rotated"
    assert page.read() == ""


async def test_a_page_of_the_new_file_is_not_sent_offsets_of_the_old_one(
    server: LogServer, early: Page
) -> None:
    writing = asyncio.create_task(early.has(OLD + NEW + LONGER))
    await server.write(LONGER)
    await writing
    late = Page(server, user("berta"), offset=len(NEW), file=server.file())
    await late.has(LONGER)
    assert (late.start, late.next_offset) == (len(NEW), len(NEW) + len(LONGER))
    await server.write("more\n")
    await late.has(LONGER + "more\n")
    await early.has(OLD + NEW + LONGER + "more\n")
    await late.close()


async def test_a_page_of_the_old_file_that_reconnects_soon_misses_nothing(
    server: LogServer, early: Page
) -> None:
    """The old follower has all lines written since, with offsets of the old file."""
    first = OLD[:-1300]
    await early.close()
    again = Page(server, user("anna"), offset=len(first), file=FIRST)
    await again.has((OLD + NEW)[len(first) :])
    await server.write("more\n")
    await again.has((OLD + NEW)[len(first) :] + "more\n")
    await again.close()


async def test_a_window_names_its_file(server: LogServer) -> None:
    place = await server.job_logs.authorize(user("anna"), server.uid)
    log = await server.job_logs.pod_log(place, parse_source("live:0:0:main"))
    windows = [await server.job_logs.live.window(log, user("anna"), -10, 100)]
    server.rotate()
    assert (await server.job_logs.live.window(log, user("anna"), 0, 100))[2] == ""
    await server.write(NEW)
    windows.append(await server.job_logs.live.window(log, user("anna"), -10, 100))
    assert [window[2] for window in windows] == [FIRST, server.file()]
    assert windows[0][2] < windows[1][2]
