"""Connections are limited in number and time, and never shut out a probe."""

import asyncio
import gc
import logging
import resource
import socket
import ssl
import struct
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import trustme
import uvicorn

from trainingjob_web import connections
from trainingjob_web.connections import ACCEPTED, LASTING, Connection, Connections
from trainingjob_web.logs import RateLimitFilter

LIMIT = 20
LARGE = b"x" * 8_000_000


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """`/held` has a token and waits for its body; `/large` is more than sockets hold."""
    body = LARGE if scope["path"] == "/large" else b"ok"
    if scope["path"] != "/healthz":
        scope["state"][ACCEPTED] = True
    if scope["query_string"] == b"lasting":
        scope["state"][LASTING] = True
    if scope["path"] == "/held":
        while (await receive()).get("more_body"):
            pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@dataclass
class Server:
    """A server on a port of its own, in this process."""

    book: Connections
    port: int

    async def connect(self, sent: bytes = b"", *, of: str = "127.0.0.1") -> socket.socket:
        """A connection that has sent this, and was accepted."""
        client = socket.socket()
        client.bind((of, 0))
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", self.port))
        await loop.sock_sendall(client, sent)
        return client

    async def probe(self, of: str = "127.0.0.9") -> bytes:
        """The answer to a probe on a connection of its own."""
        with await self.connect(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", of=of) as client:
            return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 4096), 10)

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)

    def overdue_after(self, seconds: float) -> None:
        self.book.close_overdue(asyncio.get_running_loop().time() + seconds)


@asynccontextmanager
async def serving(authority: trustme.CA | None = None) -> AsyncIterator[Server]:
    book = Connections(LIMIT)
    listener = socket.create_server(("127.0.0.1", 0), family=socket.AF_INET)
    config = uvicorn.Config(
        answer,
        http=book,  # type: ignore[arg-type]
        lifespan="off",
        log_config=None,
        loop="asyncio",
        backlog=8,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=0,
        ws="none",
    )
    if authority is not None:
        config.load()
        config.ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(config.ssl)
    server = uvicorn.Server(config)
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(server.serve(sockets=[listener]))
    served = Server(book, listener.getsockname()[1])
    await served.until(lambda: server.started)
    try:
        yield served
    finally:
        server.should_exit = True
        await task


async def closed(client: socket.socket) -> bool:
    """True once the other side has ended the connection."""
    try:
        while await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 65536), 10):
            pass
    except ConnectionError:
        pass
    return True


async def test_idle_connections_without_a_token_do_not_shut_out_a_probe() -> None:
    async with serving() as server:
        strangers = [await server.connect() for _ in range(5 * LIMIT)]
        await server.until(lambda: server.book.closed["evicted"] >= 4 * LIMIT)
        for _ in range(5):
            assert (await server.probe()).startswith(b"HTTP/1.1 200")
        assert (await server.probe(of="127.0.0.1")).startswith(b"HTTP/1.1 200")
        assert len(server.book) <= LIMIT
        assert await closed(strangers[0])
        for each in strangers:
            each.close()


async def test_at_the_limit_connections_without_a_token_are_evicted_and_not_the_operators() -> (
    None
):
    async with serving() as server:
        head = b"PUT /held HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
        busy = [await server.connect(head + b"1", of="127.0.0.2") for _ in range(LIMIT // 2)]
        await server.until(lambda: sum(c.is_accepted for c in server.book._open) == LIMIT // 2)
        strangers = [
            await server.connect(b"PUT /x", of=f"127.0.0.{10 + n % 40}") for n in range(5 * LIMIT)
        ]
        await server.until(lambda: server.book.closed["evicted"] >= 4 * LIMIT)
        for client in busy:
            await asyncio.get_running_loop().sock_sendall(client, b"2")
            said = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 4096), 10)
            assert said.startswith(b"HTTP/1.1 200")
        for each in (*busy, *strangers):
            each.close()


async def test_many_requests_with_a_token_do_not_shut_out_a_probe_either() -> None:
    async with serving() as server:
        head = b"PUT /held HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1"
        busy = [await server.connect(head) for _ in range(LIMIT)]
        await server.until(lambda: sum(c.is_accepted for c in server.book._open) == LIMIT)
        assert (await server.probe()).startswith(b"HTTP/1.1 200")
        for each in busy:
            each.close()


@pytest.mark.parametrize(
    ("sent", "limit_s", "reason"),
    [
        (b"", connections.HEAD_TIMEOUT_S, "idle"),
        (b"GET /healthz HTTP/1.1\r\nHost:", connections.HEAD_TIMEOUT_S, "slow"),
        (
            b"PUT /held HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n12",
            connections.REQUEST_TIMEOUT_S,
            "slow",
        ),
        (
            b"PUT /held?lasting HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n12",
            connections.LASTING_TIMEOUT_S,
            "slow",
        ),
        # Answered before its body was read, which then never comes.
        (
            b"PUT /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n12",
            connections.REQUEST_TIMEOUT_S,
            "slow",
        ),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", connections.HEAD_TIMEOUT_S, "idle"),
        (b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n", connections.KEEP_ALIVE_S, "idle"),
        # The answer that the peer does not read: a mere `close` would wait for it.
        (b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n", connections.REQUEST_TIMEOUT_S, "slow"),
        (
            b"GET /large?lasting HTTP/1.1\r\nHost: x\r\n\r\n",
            connections.LASTING_TIMEOUT_S,
            "slow",
        ),
        # A further request gives it no more time.
        (
            b"GET /large HTTP/1.1\r\nHost: x\r\n\r\nGET /held HTTP/1.1\r\nHo",
            connections.REQUEST_TIMEOUT_S,
            "slow",
        ),
        # A second request that came along with the first one, but for its end.
        (
            b"GET /held HTTP/1.1\r\nHost: x\r\n\r\nGET /held HTTP/1.1\r\nHo",
            connections.HEAD_TIMEOUT_S,
            "slow",
        ),
    ],
    ids=[
        *("mute", "half-head", "half-body", "download", "unwanted-body"),
        *("stranger", "known", "deaf", "deaf-download", "deaf-piped", "piped"),
    ],
)
async def test_every_state_of_a_connection_has_a_timeout(
    sent: bytes, limit_s: float, reason: str
) -> None:
    async with serving() as server:
        client = await server.connect(sent)
        wanted = sent.count(b"\r\n\r\n") and b"PUT /held" not in sent
        await server.until(lambda: len(server.book) == 1)
        [connection] = server.book._open
        await server.until(
            lambda: not sent or connection.cycle is not None or not connection.is_idle
        )
        if wanted:
            await server.until(lambda: connection.cycle and connection.cycle.response_complete)  # type: ignore[truthy-bool]
        await server.until(lambda: b"lasting" not in sent or connection._is(LASTING))
        server.overdue_after(limit_s - 5)
        assert len(server.book) == 1
        server.overdue_after(limit_s + 1)
        assert len(server.book) == 0
        assert server.book.closed[reason] == 1
        assert await closed(client)
        client.close()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_the_idle_timeout_begins_when_a_slow_client_has_read_its_response(tls: bool) -> None:
    authority = trustme.CA()
    async with serving(authority if tls else None) as server:
        trust = None
        if tls:
            trust = ssl.create_default_context()
            authority.configure_trust(trust)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=trust)
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await server.until(lambda: any(each.is_sending for each in server.book._open))
        [connection] = server.book._open
        inner = connection.transport.get_extra_info("socket")
        assert inner.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * connections.SEND_BUFFER
        server.overdue_after(connections.REQUEST_TIMEOUT_S - 1)
        assert connection.is_sending
        found = 0
        async with asyncio.timeout(30):
            while found < len(LARGE):
                found += len(await reader.read(65536))
        await server.until(lambda: not connection._unsent())
        server.overdue_after(connections.REQUEST_TIMEOUT_S + 1)
        assert not connection.is_sending
        assert len(server.book) == 1
        connection.since = asyncio.get_running_loop().time()
        server.overdue_after(connections.KEEP_ALIVE_S - 5)
        assert len(server.book) == 1
        server.overdue_after(connections.KEEP_ALIVE_S + 1)
        assert server.book.closed["idle"] == 1
        writer.close()


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving() as server:
        client = await server.connect(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n" * 30)
        said = b""
        async with asyncio.timeout(10):
            while said.count(b"200 OK") < 30:
                said += await asyncio.get_running_loop().sock_recv(client, 65536)
        [connection] = server.book._open
        assert connection.is_idle
        assert connection.is_known
        client.close()


async def test_a_connection_that_is_reset_is_removed() -> None:
    async with serving() as server:
        left: list[weakref.ref[Connection]] = []
        for _ in range(10):
            client = await server.connect(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 4096), 10)
            left += [weakref.ref(each) for each in server.book._open]
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            await server.until(lambda: len(server.book) == 0)
        await asyncio.sleep(0)
        gc.collect()
        assert len(left) == 10
        assert [each for each in left if each() is not None] == []


def test_the_limit_of_open_files_is_raised_and_connections_stay_below_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    assert connections.connections_within(500) == 500
    assert limits == [(1024, 1024)]
    assert connections.connections_within(5000) == 1024 - 256


def test_warnings_of_one_log_call_are_limited_and_suppressed_ones_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("trainingjob_web.logs.perf_counter", lambda: now)
    sparing = RateLimitFilter()

    def line(level: int) -> logging.LogRecord:
        return logging.LogRecord("uvicorn.error", level, "h11.py", 7, "no %s", ("HTTP",), None)

    warnings = [sparing.filter(line(logging.WARNING)) for _ in range(25)]
    assert sum(warnings) == 10
    assert all(sparing.filter(line(logging.INFO)) for _ in range(25))
    now = 61.0
    later = line(logging.WARNING)
    assert sparing.filter(later)
    assert later.getMessage() == "no HTTP (and 15 more like it were suppressed)"
