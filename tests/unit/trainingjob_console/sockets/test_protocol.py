"""A closed socket is released in bounded time, whatever its peer does, and holds its slot until then."""

import asyncio
import socket

import pytest

from tests.support.console.hub import RunningHub, fake_job, running_hub
from tests.support.console.raw_socket import RawSocket
from trainingjob_console.sockets.limits import Limits
from trainingjob_console.sockets.protocol import CLOSE_S

PATIENT = Limits(send=600.0, ping=600.0, pong=600.0, coalesce=0.01)
"""Nothing but the end of the socket ends it."""


async def deaf_page(running: RunningHub) -> RawSocket:
    """A page that has subscribed and reads nothing, so that frames are queued in this process."""
    page = await RawSocket.connect(running.port, receive_buffer=4096)
    position = running.index.position
    await page.send({"type": "sub", "id": 1, "kind": "jobs", "position": position})
    [connection] = running.server.server_state.connections
    async with asyncio.timeout(30):
        for version in range(100_000):
            if connection.transport.get_write_buffer_size():
                return page
            for n in range(50):
                running.index.put(fake_job(str(n), version=version, label="x" * 1000))
            await asyncio.sleep(0.01)
    raise AssertionError


@pytest.mark.parametrize("way", ["close", "half", "answer", "log-out"])
async def test_a_client_that_reads_nothing_is_aborted_soon_and_holds_its_slot_until_then(
    way: str,
) -> None:
    async with running_hub(PATIENT) as running:
        hub, connections = running.hub, running.server.server_state.connections
        page = await deaf_page(running)
        if way in ("answer", "log-out"):
            running.access.log_out("anna")
        if way in ("answer", "close"):
            await page.send_close()
        elif way == "half":
            page.sock.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(CLOSE_S + 10):
            while connections:
                assert (hub.admission.used, hub.admission.users["anna"]) == (1, 1)
                await asyncio.sleep(0.01)
        assert (hub.admission.used, hub.admission.users) == (0, {})
        page.close()


async def test_a_client_that_answers_the_close_frame_is_released_at_once() -> None:
    async with running_hub(PATIENT) as running:
        page = await RawSocket.connect(running.port)
        running.access.log_out("anna")
        assert await page.receive() is None
        await page.send_close()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        [connection] = running.server.server_state.connections
        while running.server.server_state.connections:
            await asyncio.sleep(0)
        assert connection._abort_timer.cancelled()  # type: ignore[union-attr]
        assert loop.time() - begun < 60
        page.close()
