"""Requests of disconnected clients count until they have ended, over real connections."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from trainingjob_console.request_limit import RequestLimit
from trainingjob_web.connections import Connections
from trainingjob_web.uvicorn_server import make_server

LIMIT = 16


class Slow:
    """Answers `/slow` when released, and all other paths at once."""

    def __init__(self) -> None:
        self.handlers = 0
        self.may = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.handlers += 1
        try:
            if scope["path"] == "/slow":
                await self.may.wait()
        finally:
            self.handlers -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[tuple[int, Connections]]:
    """Yield the port, and the connections."""
    book = Connections(LIMIT)
    server = make_server(app, book, grace_s=0, ws="none")
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1], book
        finally:
            server.should_exit = True
            await task


async def ask(port: int, path: str, *, of: str) -> socket.socket:
    client = socket.socket()
    client.bind((of, 0))
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return client


async def status(port: int, path: str, *, of: str) -> int:
    with await ask(port, path, of=of) as client:
        async with asyncio.timeout(10):
            said = await asyncio.get_running_loop().sock_recv(client, 4096)
        return int(said.split()[1])


async def ask_and_hang_up(port: int, book: Connections, number: int, *, of: str) -> None:
    for _ in range(number):
        with await ask(port, "/slow", of=of) as client:
            async with asyncio.timeout(10):
                while not len(book):
                    await asyncio.sleep(0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        async with asyncio.timeout(10):
            while len(book):
                await asyncio.sleep(0)


async def test_requests_of_disconnected_clients_are_bounded() -> None:
    app = Slow()
    running = RequestLimit(app, limit=12, of_address=8)
    async with serving(running) as (port, book):
        await ask_and_hang_up(port, book, 3 * LIMIT, of="127.0.0.2")
        assert (len(book), app.handlers, len(running)) == (0, 8, 8)
        # The address has its share; others, and the probes of all, are served.
        assert await status(port, "/", of="127.0.0.2") == 503
        assert await status(port, "/", of="127.0.0.3") == 200
        assert await status(port, "/readyz", of="127.0.0.2") == 200
        await ask_and_hang_up(port, book, LIMIT, of="127.0.0.3")
        assert (app.handlers, len(running)) == (12, 12)
        assert await status(port, "/", of="127.0.0.4") == 503
        assert await status(port, "/healthz", of="127.0.0.4") == 200
        app.may.set()
        async with asyncio.timeout(10):
            while len(running):
                await asyncio.sleep(0)
        assert await status(port, "/", of="127.0.0.2") == 200
        assert not running._addresses
