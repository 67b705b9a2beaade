"""The process is stalled for longer than a deadline, while its clients behave well."""

import asyncio
import socket
from dataclasses import replace
from itertools import count

import pytest

from tests.support.console.hub import RunningHub, fake_job, running_hub
from tests.support.console.raw_socket import RawSocket
from tests.support.console.stalled_process import StalledLoop, unread_response
from trainingjob_console.sockets.limits import Limits
from trainingjob_console.sockets.protocol import SocketProtocol

JOBS = {"type": "sub", "id": 1, "kind": "jobs"}
LIMITS = Limits()
PAUSE_S = 300.0
"""Longer than each deadline of a socket but its age."""


@pytest.fixture
async def standstill(monkeypatch: pytest.MonkeyPatch) -> StalledLoop:
    return StalledLoop(monkeypatch)


async def subscribed(running: RunningHub, receive_buffer: int = 0) -> RawSocket:
    """Return a page that is sent the changes of jobs."""
    page = await RawSocket.connect(running.port, receive_buffer=receive_buffer)
    await page.send({**JOBS, "position": running.index.position})
    running.index.put(fake_job(f"for-page-{running.hub.admission.used}"))
    await page.receive_kind("delta")
    return page


async def pinged(running: RunningHub, standstill: StalledLoop, number: int) -> list[RawSocket]:
    """Return pages that have been sent a ping."""
    pages = [await subscribed(running) for _ in range(number)]
    standstill.lasts(LIMITS.ping)
    for page in pages:
        await page.receive_kind("ping")
    return pages


async def test_unread_pongs_are_read_before_a_page_is_closed(
    standstill: StalledLoop,
) -> None:
    async with running_hub(LIMITS) as running:
        pages = await pinged(running, standstill, 8)
        # In one step of the event loop, so that the server reads nothing before: all pages answer, the process is
        # stalled, and a change wakes the writers, which check the deadlines.
        for page in pages:
            page.send_now({"type": "pong"})
        standstill.lasts(PAUSE_S)
        running.index.put(fake_job("second"))
        for page in pages:
            await page.receive_kind("delta")
        standstill.lasts(LIMITS.ping)
        for page in pages:
            await page.receive_kind("ping")
        assert running.hub.closed == {}
        for page in pages:
            page.close()


async def test_a_page_without_pongs_is_closed_after_a_standstill_too(
    standstill: StalledLoop,
) -> None:
    async with running_hub(LIMITS) as running:
        [page] = await pinged(running, standstill, 1)
        standstill.lasts(PAUSE_S)
        looks = 0
        while not running.hub.closed:
            standstill.lasts(LIMITS.pong / 20)
            await asyncio.sleep(0.001)
            looks += 1
            assert looks < 30
        assert running.hub.closed == {"no-pong": 1}
        page.close()


async def test_a_page_that_reads_all_it_can_get_is_not_slow(standstill: StalledLoop) -> None:
    async with running_hub(replace(LIMITS, coalesce=0.0)) as running:
        page = await subscribed(running, receive_buffer=65536)
        [served] = running.server.server_state.connections
        assert isinstance(served, SocketProtocol)
        served.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF, 65536
        )
        async with asyncio.timeout(30):
            for version in count():
                running.index.put(fake_job("large", version=version, label="x" * 100_000))
                await asyncio.sleep(0.001)
                if not served.writable.is_set():
                    break
        running.index.put(fake_job("last", label="x" * 100_000))
        for _ in range(5):  # the next frame waits to be sent
            await asyncio.sleep(0)
        page.take_all_now()
        standstill.lasts(PAUSE_S)  # so there is nothing more to read
        rows: list[str] = []
        while "last" not in rows:
            rows = [row["uid"] for row in (await page.receive_kind("delta"))["rows"]]
        assert running.hub.closed == {}
        page.close()


async def test_an_unread_response_of_the_api_server_still_opens_a_list(
    standstill: StalledLoop,
) -> None:
    async with running_hub(LIMITS) as running:
        running.access.tells.clear()
        with unread_response(running.access.tells) as answer:
            position = running.index.position
            running.index.put(fake_job("first"))
            page = await RawSocket.connect(running.port)
            await page.send({**JOBS, "position": position})
            await page.send({"type": "unsub", "id": 2})
            await page.receive_kind("end")  # it is being opened
            answer.arrive()
            standstill.lasts(PAUSE_S)
            opened = await page.receive()
            while opened == {"type": "ping"}:
                opened = await page.receive()
            assert opened is not None
            assert (opened["type"], opened["id"]) == ("delta", 1)
            page.close()
