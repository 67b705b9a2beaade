"""Reads of live logs have a deadline; streams to clients have none."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.console.archives import section_of, write_archive
from tests.support.console.log_server import LogServer, log_server, user
from tests.support.console.stalled_process import StalledLoop, unread_response
from trainingjob_console.access.caller import Caller
from trainingjob_console.errors import BusyError, NotFoundError
from trainingjob_console.logs import log_reader
from trainingjob_console.logs.archive import Archive
from trainingjob_console.logs.log_reader import LiveReader, search_archived
from trainingjob_console.logs.pods import PodLog, logs_of_job
from trainingjob_console.logs.search import Search

ANNA = user("anna")


async def log_of(server: LogServer) -> PodLog:
    [log] = await logs_of_job(server.kube, "anna", "ml", server.uid)
    return log


async def test_a_slow_client_has_no_deadline(tmp_path: Path) -> None:
    async with log_server(tmp_path) as server:
        text = "".join(f"{number:08}\n" for number in range(100_000))
        await server.write(text)
        reader = LiveReader(server.kube, deadline_s=0.2)
        found, begun = b"", asyncio.get_running_loop().time()
        async with reader.stream(await log_of(server), ANNA) as parts:
            async for part in parts:
                found += part
                await asyncio.sleep(0.05)
        assert found.decode() == text
        assert asyncio.get_running_loop().time() - begun > 2 * 0.2


async def test_a_log_that_is_not_read_in_time_is_a_503_with_the_reason(tmp_path: Path) -> None:
    async with log_server(tmp_path) as server:
        await server.write("one\n")
        server.silent = True
        reader, log = LiveReader(server.kube, deadline_s=0.1), await log_of(server)
        for asked in (
            reader.window(log, ANNA, 0, 100),
            reader.window(log, ANNA, -5, 100),
            reader.search(log, ANNA, re.compile(b"x"), 0, 10),
        ):
            with pytest.raises(BusyError, match=r"not read in 0\.1 s") as caught:
                await asked
            assert (caught.value.status, caught.value.retry_after_s) == (503, 5)


@pytest.mark.parametrize(
    "read",
    [
        lambda reader, log: reader.window(log, ANNA, 0, 100),
        lambda reader, log: reader.window(log, ANNA, -5, 100),
        lambda reader, log: reader.search(log, ANNA, re.compile(b"x"), 0, 10),
    ],
)
async def test_a_log_that_arrived_while_the_process_was_stalled_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read: Callable[[LiveReader, PodLog], Coroutine[Any, Any, Any]],
) -> None:
    standstill, was_asked, was_read = StalledLoop(monkeypatch), asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def late_log(*_: object, **__: object) -> AsyncIterator[SimpleNamespace]:
        async def parts(_: int = 0) -> AsyncIterator[bytes]:
            was_asked.set()
            await was_read.wait()
            yield b"one\n"

        yield SimpleNamespace(content=SimpleNamespace(iter_any=parts, iter_chunked=parts))

    async with log_server(tmp_path) as server:
        log = await log_of(server)
        monkeypatch.setattr(server.kube, "log", late_log)
        with unread_response(was_read) as answer:
            reading = asyncio.create_task(read(LiveReader(server.kube, deadline_s=60), log))
            await was_asked.wait()
            answer.arrive()
            standstill.lasts(300)
            assert await reading


async def test_a_log_waits_for_a_free_slot_while_the_process_is_stalled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standstill, was_read = StalledLoop(monkeypatch), asyncio.Event()
    async with log_server(tmp_path) as server:
        reader = LiveReader(server.kube, streams=1, deadline_s=60)
        with unread_response(was_read) as answer:
            holding = asyncio.create_task(_hold(reader, was_read))
            await asyncio.sleep(0)
            waiting = asyncio.create_task(_hold(reader, was_read))
            await asyncio.sleep(0)
            answer.arrive()
            standstill.lasts(300)
            await asyncio.gather(holding, waiting)


async def _hold(reader: LiveReader, released: asyncio.Event) -> None:
    async with reader.streaming_slot(ANNA):
        await released.wait()


async def test_stalled_clients_do_not_block_windows(tmp_path: Path) -> None:
    async with log_server(tmp_path) as server:
        await server.write("one\n")
        reader = LiveReader(server.kube, reads=1, streams=1, deadline_s=5)
        log = await log_of(server)
        async with reader.stream(log, ANNA):
            window, size, _ = await reader.window(log, ANNA, 0, 100)
            assert (window.text, size) == ("one\n", 4)
            impatient = LiveReader(server.kube, streams=0, deadline_s=0.05)
            with pytest.raises(BusyError, match="too many logs"):
                await impatient.stream(log, ANNA).__aenter__()


async def test_a_container_that_has_not_started_has_no_log(tmp_path: Path) -> None:
    async with log_server(tmp_path) as server:
        server.logs[0].begun = False
        with pytest.raises(NotFoundError, match="not started"):
            await LiveReader(server.kube).window(await log_of(server), ANNA, 0, 100)


async def test_reads_wait_in_a_bounded_queue(tmp_path: Path) -> None:
    async with log_server(tmp_path) as server:
        await server.write("one\n")
        server.silent = True
        reader, log = LiveReader(server.kube, deadline_s=60), await log_of(server)
        reads = [
            asyncio.create_task(reader.window(log, user(f"user-{number}"), 0, 100))
            for number in range(200)
        ]
        async with asyncio.timeout(30):
            while sum(each.done() for each in reads) < 200 - 64:
                await asyncio.sleep(0.01)
        assert len(reader.reads) == 64
        for each in reads:
            each.cancel()
        ended = await asyncio.gather(*reads, return_exceptions=True)
        assert sum("too many logs" in str(each) for each in ended) == 200 - 64
        assert len(reader.reads) == 0


async def test_two_tokens_of_one_user_do_not_block_other_users(tmp_path: Path) -> None:
    async with log_server(tmp_path) as server:
        await server.write("one\n")
        server.silent = True
        reader, log = LiveReader(server.kube, deadline_s=60), await log_of(server)
        again = Caller("anna", token="again", key="again")
        reads = [
            asyncio.create_task(reader.window(log, caller, 0, 100))
            for caller in [ANNA] * 6 + [again] * 6 + [user("ben")]
        ]
        async with asyncio.timeout(30):
            while server.asked["ben"] < 1 or server.asked.total() < 3:
                await asyncio.sleep(0.01)
        assert (server.asked.total(), len(reader.reads)) == (3, 13)
        for each in reads:
            each.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
        assert len(reader.reads) == 0


async def test_a_live_log_is_searched_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blocked search blocks only its own request."""
    go_on, threads = threading.Event(), set[int]()
    feed = Search.feed

    def slow(search: Search, part: bytes) -> None:
        threads.add(threading.get_ident())
        assert go_on.wait(20)
        feed(search, part)

    monkeypatch.setattr(Search, "feed", slow)
    async with log_server(tmp_path) as server:
        await server.write("one\ntwo\n")
        log = await log_of(server)
        pattern = re.compile(b"two")
        asked = asyncio.create_task(
            LiveReader(server.kube).search(log, user("anna"), pattern, 0, 10)
        )
        async with asyncio.timeout(20):
            while not threads:
                await asyncio.sleep(0.001)
        assert threading.get_ident() not in threads
        go_on.set()
        found = await asked
        assert found == {"hits": [{"offset": 4, "line": "two"}], "scanned": 8, "complete": True}


async def test_one_user_may_stream_a_quarter_and_the_next_user_does_not_wait(
    tmp_path: Path,
) -> None:
    async with log_server(tmp_path) as server:
        await server.write("one\n")
        reader, log = LiveReader(server.kube, streams=8, deadline_s=0.2), await log_of(server)
        async with reader.stream(log, ANNA), reader.stream(log, ANNA):
            with pytest.raises(BusyError, match="too many logs"):
                await reader.stream(log, ANNA).__aenter__()
            async with reader.stream(log, user("ben")) as parts:
                assert b"".join([part async for part in parts]) == b"one\n"
            assert len(reader.streams) == 2
        async with reader.stream(log, ANNA) as parts:
            assert b"".join([part async for part in parts]) == b"one\n"
        assert len(reader.streams) == 0


def test_a_search_of_a_million_lines_resumes_after_each_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reader, "SEARCH_S", 0.0)  # over after the first block
    log = b"".join(b"step %07d of a million\n" % number for number in range(1_000_000))
    archive = Archive.open(tmp_path, write_archive(tmp_path, section_of(log)))
    assert archive is not None
    with archive:
        pattern = re.compile(b"step 0(000000|333333|999999) ", re.IGNORECASE)
        found = search_archived(archive, None, pattern, 0, 1000)
        hits, answers = found["hits"], 1
        while not found["complete"]:
            before = found["scanned"]
            found = search_archived(archive, None, pattern, before, 1000)
            hits, answers = hits + found["hits"], answers + 1
            assert found["scanned"] > before or found["complete"]
    assert [hit["line"][-20:] for hit in hits] == [
        f"0{number} of a million" for number in ("000000", "333333", "999999")
    ]
    assert answers > 10
