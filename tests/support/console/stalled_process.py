"""A process that is stalled or suspended: the clock of its event loop jumps, and sockets hold unread data."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest


class StalledLoop:
    """The clock of the event loop, which a test moves on: to all that runs here, the process stood still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        running = loop.time
        self._stood_s = 0.0
        monkeypatch.setattr(loop, "time", lambda: running() + self._stood_s)

    def lasts(self, seconds: float) -> None:
        self._stood_s += seconds


class UnreadResponse:
    """An answer that arrives on a socket, and is read with the next step of the event loop."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer

    def arrive(self) -> None:
        """Send it; nothing reads it before the caller next awaits."""
        self._peer.send(b"the answer")


@contextmanager
def unread_response(was_read: asyncio.Event) -> Iterator[UnreadResponse]:
    """Yield an answer that has not arrived yet; this event is set once it has been read."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()

    def read() -> None:
        ours.recv(100)
        was_read.set()

    loop.add_reader(ours, read)
    try:
        yield UnreadResponse(theirs)
    finally:
        loop.remove_reader(ours)
        ours.close()
        theirs.close()


class SlowServer:
    """An HTTP server that answers one request when the test says so.

    Attributes:
        url: its address.
        was_asked: set once the request has arrived.
    """

    def __init__(self) -> None:
        self.url = ""
        self.was_asked = asyncio.Event()
        self._answered = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self._writer = writer
        self.was_asked.set()
        await self._answered.wait()
        writer.close()

    def answer(self, value: object) -> None:
        """Send a JSON response; the client does not read it before the next step of the event loop."""
        self.answer_text(json.dumps(value), "application/json")

    def answer_text(self, text: str, content_type: str = "text/plain") -> None:
        """Send a response; the client does not read it before the next step of the event loop."""
        assert self._writer is not None
        body = text.encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        self._answered.set()


@asynccontextmanager
async def slow_server() -> AsyncIterator[SlowServer]:
    """Serve on a free port of the loopback address."""
    late = SlowServer()
    server = await asyncio.start_server(late.accept, "127.0.0.1", 0)
    late.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield late
