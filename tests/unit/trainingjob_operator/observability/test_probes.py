"""Hostile clients of the operator's port, with real sockets."""

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import closing

import pytest

from tests.support.processes.processes import eventually
from trainingjob_operator.observability import http_connection, http_listener
from trainingjob_operator.observability import probes as server
from trainingjob_operator.observability.probes import WebServer

LARGE = 64 * 1024 * 1024


class Site:
    """A server, and the number of times it rendered the metrics."""

    def __init__(self) -> None:
        self.rendered = 0
        self.page = b"a 1\n"
        self.wrong: str | None = None
        self.web = WebServer(
            "127.0.0.1:0", healthy=lambda: self.wrong, ready=lambda: None, metrics=self.render
        )
        self.port = 0

    def render(self) -> bytes:
        self.rendered += 1
        if not self.page:
            raise RuntimeError("no such page")
        return self.page

    async def ask(self, request: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request.encode())
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        return answer

    async def get(self, path: str) -> bytes:
        return await self.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")

    async def connect(self, count: int) -> list[socket.socket]:
        """Open connections that have sent nothing yet."""
        loop = asyncio.get_running_loop()
        made = []
        for _ in range(count):
            each = socket.socket()
            each.setblocking(False)
            await loop.sock_connect(each, ("127.0.0.1", self.port))
            made.append(each)
        return made


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    site.port = int((await site.web.start()).rpartition(":")[2])
    yield site
    await site.web.stop()


def is_over(connection: socket.socket) -> bool:
    """Wait until the server has closed the connection."""
    try:
        return connection.recv(1 << 16) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def test_a_probe_is_answered_with_a_line_and_its_connection_closed(site: Site) -> None:
    assert (await site.get("/healthz")).startswith(b"HTTP/1.1 200 OK\r\n")
    site.wrong = "a worker has died"
    answer = await site.get("/healthz?verbose")
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert answer.endswith(b"\r\nConnection: close\r\n\r\na worker has died\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("GET /nothing HTTP/1.1\r\n\r\n", b"404"),
        ("POST /healthz HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", b"405"),
        ("GET /healthz\r\n\r\n", b"400"),
        ("GET http://[ HTTP/1.1\r\n\r\n", b"400"),
        ("\x16\x03\x01 a b c\r\n\r\n", b"400"),
        ("GET /healthz HTTP/1.1\r\n" + "a: b\r\n" * 2000, b"431"),
        ("HEAD /healthz HTTP/1.1\r\n\r\n", b"200"),
    ],
)
async def test_invalid_requests_get_an_error_response(
    site: Site, request_: str, status: bytes
) -> None:
    answer = await site.ask(request_)
    assert answer.split(b" ")[1] == status
    assert request_.startswith("HEAD") == answer.endswith(b"\r\n\r\n")


async def test_a_rendering_error_is_a_500_and_the_server_continues(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.page = b""
    assert (await site.get("/metrics")).startswith(b"HTTP/1.1 500 ")
    assert "cannot answer '/metrics'" in caplog.text
    assert (await site.get("/healthz")).startswith(b"HTTP/1.1 200 ")


async def test_idle_connections_are_capped_and_a_probe_gets_through(site: Site) -> None:
    idle = await site.connect(3 * server.CONNECTIONS)
    assert (await site.get("/healthz")).startswith(b"HTTP/1.1 200 ")
    assert len(site.web.connections) <= server.CONNECTIONS
    assert site.web.connections.closed_total >= 2 * server.CONNECTIONS
    for each in idle:
        each.close()


async def test_an_incomplete_request_has_one_deadline_from_the_accept(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "LIFE_S", 0.3)
    idle, trickling = await site.connect(2)

    def both_are_over() -> bool:
        try:
            trickling.send(b"G")
        except ConnectionError:
            return is_over(idle)
        return False

    await eventually(both_are_over)
    assert len(site.web.connections) == 0
    idle.close()
    trickling.close()


async def test_a_client_that_does_not_read_is_disconnected(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "LIFE_S", 3.0)  # it has to be seen before it is over
    site.page = bytes(LARGE)
    (slow,) = await site.connect(1)
    slow.send(b"GET /metrics HTTP/1.1\r\n\r\n")
    await eventually(lambda: site.rendered)
    assert len(site.web.connections) == 1
    await eventually(lambda: len(site.web.connections) == 0)
    slow.close()


async def test_of_pipelined_requests_the_first_is_answered(site: Site) -> None:
    answer = await site.ask("GET /healthz HTTP/1.1\r\n\r\n" * 100)
    assert answer.count(b"HTTP/1.1 200") == 1


async def test_a_client_that_sends_an_endless_body_is_disconnected(site: Site) -> None:
    (endless,) = await site.connect(1)
    endless.send(b"POST /metrics HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n")

    def is_cut_off() -> bool:
        try:
            endless.send(bytes(1 << 16))
        except BlockingIOError:
            return False
        except ConnectionError:
            return True
        return False

    await eventually(is_cut_off)
    await eventually(lambda: len(site.web.connections) == 0)
    endless.close()


async def test_connections_that_are_reset_are_removed(site: Site) -> None:
    for _ in range(10):
        for each in await site.connect(50):
            each.send(b"GET /he")
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.close()
    await eventually(lambda: len(site.web.connections) == 0 and not site.web._port._connecting)
    assert (await site.get("/healthz")).startswith(b"HTTP/1.1 200 ")


async def test_metrics_are_rendered_at_most_once_per_ttl(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_METRICS_TTL_S", 3600.0)
    for _ in range(20):
        assert (await site.get("/metrics")).endswith(b"a 1\n")
    assert site.rendered == 1
    site.web._forget_page()
    await site.get("/metrics")
    assert site.rendered == 2


class OutOfDescriptors:
    """A listener whose accept fails while a test sets it to."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.tries = 0
        self.fails = True

    def fileno(self) -> int:
        return self._listener.fileno()

    def accept(self) -> tuple[socket.socket, object]:
        self.tries += 1
        if self.fails:
            raise OSError(errno.EMFILE, "Too many open files")
        return self._listener.accept()

    def close(self) -> None:
        self._listener.close()


async def test_without_file_descriptors_it_closes_a_connection_pauses_and_logs_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    idle = await site.connect(2)
    await eventually(lambda: len(site.web.connections) == 2)
    loop = asyncio.get_running_loop()
    listener = OutOfDescriptors(site.web._port._listeners[0])
    loop.remove_reader(listener.fileno())
    site.web._port._listeners[0] = listener  # type: ignore[call-overload]
    loop.add_reader(listener.fileno(), site.web._port._accept, listener)  # type: ignore[arg-type]
    waiting = asyncio.create_task(site.get("/healthz"))
    await eventually(lambda: listener.tries >= 2)
    assert len(site.web.connections) == 0, "ours are given back for the operator's own calls"
    listener.fails = False
    assert (await waiting).startswith(b"HTTP/1.1 200 ")
    assert not caplog.records
    for each in idle:
        each.close()


async def test_the_connection_limit_is_a_quarter_of_the_open_files_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_listener, "descriptor_limit", lambda: 256)
    assert Site().web.connections.limit == 64


async def test_an_address_in_use_is_an_error(site: Site) -> None:
    second = WebServer(
        f"127.0.0.1:{site.port}", healthy=lambda: None, ready=lambda: None, metrics=bytes
    )
    with pytest.raises(OSError, match="in use"):
        await second.start()


async def test_without_a_host_it_serves_ipv4_and_ipv6_or_the_available_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("0.0.0.0", 0)),
    ]
    real = http_listener._listener

    def without_ipv6(family: int, where: tuple[object, ...]) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6 here")
        return real(family, where)

    async def both(*_: object, **__: object) -> list[object]:
        return found  # type: ignore[return-value]

    monkeypatch.setattr(http_listener, "_listener", without_ipv6)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
    site = Site()
    address = await site.web.start()
    with closing(socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))):
        await site.web.stop()
