"""A page with merged logs is sent the log of each pod exactly once, until the job has finished."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.console.archives import section_of, write_archive
from tests.support.console.log_page import Page
from tests.support.console.log_server import FakeLog, LogServer, log_server, user
from trainingjob_console.errors import BusyError
from trainingjob_console.sockets.log_ring import Gap

RANKS = 2


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LogServer]:
    """A job without pods, and a log volume."""
    async with log_server(tmp_path, ranks=RANKS, volume=tmp_path) as found:
        found.logs.clear()
        yield found


async def start(server: LogServer, rank: int, attempt: int = 0) -> None:
    """Create a pod that writes a line."""
    server.logs.append(FakeLog(rank, attempt))
    await server.write(f"of attempt {attempt}\n", len(server.logs) - 1)


def line(rank: int, attempt: int = 0) -> str:
    return f"[rank {rank}] of attempt {attempt}"


async def has(page: Page, *lines: str) -> None:
    """Wait until it was sent exactly these lines, in the order of each rank."""
    async with asyncio.timeout(20):
        while len(page.read().splitlines()) < len(lines):
            assert not page.task.done(), page.task
            await asyncio.sleep(0.005)
    assert sorted(page.text.splitlines()) == sorted(lines)


async def page_of_all(server: LogServer) -> Page:
    """Return a page that has the first line of each rank."""
    for rank in range(RANKS):
        await start(server, rank)
    page = Page(server, user("anna"), "merged")
    await has(page, *(line(rank) for rank in range(RANKS)))
    return page


def back(server: LogServer, page: Page) -> Page:
    """Return the same page, reconnected."""
    return Page(
        server, page.caller, "merged", offset=page.next_offset, places=list(page.places.values())
    )


async def test_it_waits_for_pods_that_are_created_later(server: LogServer) -> None:
    page = Page(server, user("anna"), "merged")
    await start(server, 1)
    await has(page, line(1))
    server.logs.append(FakeLog(0, begun=False))
    server.job_is(ready=1)
    await server.write("early\n", 1)
    server.logs[1].begun = True
    await has(page, line(1), "[rank 0] early")
    await page.close()


async def test_it_continues_with_the_next_attempt_and_ends_with_the_job(server: LogServer) -> None:
    for rank in range(RANKS):
        await start(server, rank)
    page = Page(server, user("anna"), "merged")
    lines = [line(0), line(1)]
    await has(page, *lines)
    for attempt in (1, 2):
        await server.end()
        for log in server.logs:
            log.gone = True
        server.job_is(attempt)
        for rank in range(RANKS):
            await start(server, rank, attempt)
        lines += [line(0, attempt), line(1, attempt)]
        await has(page, *lines)
        await page.close()
        page, before = back(server, page), page
        await server.write("more\n", len(server.logs) - 1)
        lines = ["[rank 1] more"]
        await has(page, *lines)
        assert page.start == before.next_offset
    server.job_is(2, is_over=True)
    await server.write("the end\n", len(server.logs) - 1)
    await server.end()
    assert await page.task == "finished"
    await page.has("[rank 1] more\n[rank 1] the end\n")


async def test_the_next_log_of_a_rank_is_sent_after_the_whole_previous_one(
    server: LogServer,
) -> None:
    page = await page_of_all(server)
    server.job_is(1)
    await start(server, 1, 1)
    await start(server, 0, 1)
    lines = [line(0), line(1)]
    for number, rank in ((0, 0), (1, 1)):
        await server.write("late\n", number)
        lines.append(f"[rank {rank}] late")
    await has(page, *lines)
    await server.end()
    lines += [line(0, 1), line(1, 1)]
    await has(page, *lines)
    for rank in range(RANKS):
        of_rank = [each for each in page.text.splitlines() if each.startswith(f"[rank {rank}]")]
        assert of_rank == [line(rank), f"[rank {rank}] late", line(rank, 1)]
    await page.close()


async def test_a_page_that_reconnects_is_not_sent_earlier_pods(
    server: LogServer,
) -> None:
    for attempt in (0, 1):
        await start(server, 0, attempt)
    await start(server, 1, 1)
    server.job_is(1)
    page = Page(server, user("anna"), "merged")
    await has(page, line(0, 1), line(1, 1))
    await page.close()
    await server.job_logs.followers.close()
    again = back(server, page)
    await server.write("more\n", 1)
    await has(again, "[rank 0] more")
    await again.close()


async def test_the_log_of_a_pod_deleted_before_it_was_read_is_sent_from_the_archive(
    server: LogServer, tmp_path: Path
) -> None:
    write_archive(tmp_path, section_of(b"short\n", pod="pod-1"), uid=server.uid)
    await start(server, 1)
    page = Page(server, user("anna"), "merged")
    await has(page, line(1))
    server.logs.append(FakeLog(0, gone_when_read=True))
    server.job_is(ready=1)
    await has(page, line(1), "[rank 0] short")
    server.job_is(1)
    await start(server, 0, 1)
    await has(page, line(1), "[rank 0] short", line(0, 1))
    await page.close()


async def test_it_continues_after_lists_of_pods_have_failed(server: LogServer) -> None:
    await start(server, 1)
    page = Page(server, user("anna"), "merged")
    await has(page, line(1))
    server.listing, lists = False, server.lists
    await start(server, 0)
    server.job_is(ready=1)
    async with asyncio.timeout(20):
        while server.lists == lists:
            await asyncio.sleep(0.005)
    server.listing = True
    await has(page, line(0), line(1))
    await page.close()


async def test_the_log_ends_for_a_user_who_may_no_longer_list_pods(server: LogServer) -> None:
    page = Page(server, user("anna"), "merged")
    await start(server, 1)
    await has(page, line(1))
    server.unknown.add("anna")
    assert (await page.error()).status == 401


async def test_pods_are_listed_once_while_all_ranks_of_the_attempt_are_followed(
    server: LogServer,
) -> None:
    for rank in range(RANKS):
        await start(server, rank)
    page = Page(server, user("anna"), "merged")
    lines = [line(0), line(1)]
    await has(page, *lines)
    for number in range(20):
        server.job_is(ready=number % 2)
        await server.write(f"{number}\n", number % RANKS)
        lines.append(f"[rank {number % RANKS}] {number}")
        await has(page, *lines)
    assert server.lists == 1
    await page.close()


async def test_a_finished_job_with_a_rank_that_never_started_ends_the_log(
    server: LogServer,
) -> None:
    await start(server, 1)
    page = Page(server, user("anna"), "merged")
    await has(page, line(1))
    server.job_is(is_over=True)
    await server.end()
    assert await page.task == "finished"


async def test_a_deleted_job_ends_the_log(server: LogServer) -> None:
    page = Page(server, user("anna"), "merged")
    await start(server, 1)
    await has(page, line(1))
    server.logs[0].gone = True
    await server.break_streams()
    server.index.remove(server.uid)
    assert await page.task == "finished"


def archive(server: LogServer, root: Path) -> None:
    """Archive all logs that have ended and delete their pods, as the operator does."""
    sections = []
    for number, log in enumerate(server.logs):
        text = b"".join(line for _, line in log.lines)
        pod = f"pod-{number}"
        sections.append(section_of(text, attempt=log.attempt, rank=log.rank, pod=pod))
        log.ended = log.gone = True
    write_archive(root, *sections, uid=server.uid)


async def test_a_page_that_reconnects_is_sent_deleted_pods_from_the_archive(
    server: LogServer, tmp_path: Path
) -> None:
    page = await page_of_all(server)
    await page.close()
    await server.write("caf\u00e9\n", 1)
    for rank in range(RANKS):
        await start(server, rank, 1)
    archive(server, tmp_path)
    for rank in range(RANKS):
        await start(server, rank, 2)
    server.job_is(2)
    again = back(server, page)
    lines = ["[rank 1] caf\u00e9"]
    lines += [line(rank, attempt) for rank in range(RANKS) for attempt in (1, 2)]
    await has(again, *lines)
    of_rank = [each for each in again.text.splitlines() if each.startswith("[rank 1]")]
    assert of_rank == ["[rank 1] caf\u00e9", line(1, 1), line(1, 2)]
    await again.close()
    last = back(server, again)
    await server.write("more\n", len(server.logs) - 1)
    await has(last, "[rank 1] more")
    await last.close()


async def test_an_attempt_that_was_never_listed_is_sent_from_the_archive(
    server: LogServer, tmp_path: Path
) -> None:
    page = await page_of_all(server)
    await server.end()
    for rank in range(RANKS):
        await start(server, rank, 1)
    archive(server, tmp_path)
    for rank in range(RANKS):
        await start(server, rank, 2)
    server.job_is(2)
    await has(page, *(line(rank, attempt) for rank in range(RANKS) for attempt in range(3)))
    await page.close()


async def test_lines_written_while_a_stream_was_broken_are_sent_after_the_pod_was_deleted(
    server: LogServer, tmp_path: Path
) -> None:
    page = await page_of_all(server)
    server.silent = True  # what is written now is not sent any more
    await server.break_streams()
    await server.write("the last words\n", 1)
    archive(server, tmp_path)
    await server.break_streams()
    await has(page, line(0), line(1), "[rank 1] the last words")
    await page.close()


async def test_a_missing_log_is_requested_with_backoff(
    server: LogServer,
) -> None:
    await start(server, 1)
    page = Page(server, user("anna"), "merged")
    await has(page, line(1))
    begun, lists = time.monotonic(), server.lists
    server.logs.append(FakeLog(0, unknown=True))
    server.job_is(ready=1)
    async with asyncio.timeout(20):
        while server.lists < lists + 4:
            await asyncio.sleep(0.005)
    assert time.monotonic() - begun > 0.3 + 0.6 + 1.2
    await server.write("early\n", 1)
    server.logs[1].unknown = False
    await has(page, line(1), "[rank 0] early")
    await page.close()


async def test_a_gap_is_reported_if_the_archive_does_not_respond(
    server: LogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await page_of_all(server)
    await page.close()
    archive(server, tmp_path)

    async def does_not_answer(*_: object, **__: object) -> None:
        raise BusyError("the volume does not answer")

    monkeypatch.setattr(server.job_logs.archives, "with_archive", does_not_answer)
    again = back(server, page)
    async with asyncio.timeout(20):
        while (found := again.ring.take()) is None:
            await asyncio.sleep(0.005)
    assert isinstance(found, Gap)
    await again.close()
