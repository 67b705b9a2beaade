"""`/metrics` over TLS, with real sockets and certificates."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import trustme

from tests.support.processes.processes import eventually
from trainingjob_api.errors import SettingsError
from trainingjob_operator.observability.http_connection import Response
from trainingjob_operator.observability.metrics_auth import MetricsAuthorizer
from trainingjob_operator.observability.secure_metrics import CONNECTIONS, SecureMetrics

LARGE = b"a 1\n" * 100_000


class Site:
    """A server with a certificate of an authority of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.reviewed: list[str] = []
        self.secure = SecureMetrics(
            "127.0.0.1:0",
            folder,
            MetricsAuthorizer(self.review, monotonic=asyncio.get_running_loop().time),
            lambda: Response(LARGE),
        )
        self.port = 0

    async def review(self, token: str) -> bool | None:
        self.reviewed.append(token)
        if token == "breaks":
            raise RuntimeError("a fault of ours")
        return {"good": True, "poor": False}.get(token)

    def certify(self, name: str) -> None:
        """Put a new certificate where a mounted Secret has it, as the kubelet does: by renaming."""
        made = self.authority.issue_cert("127.0.0.1", common_name=name)
        for file, content in (
            ("tls.crt", b"".join(each.bytes() for each in made.cert_chain_pems)),
            ("tls.key", made.private_key_pem.bytes()),
        ):
            fresh = self.folder / f".{file}"
            fresh.write_bytes(content)
            fresh.rename(self.folder / file)

    def trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    async def get(self, token: str = "", path: str = "/metrics") -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with (
            aiohttp.ClientSession() as session,
            session.get(
                f"https://127.0.0.1:{self.port}{path}", headers=headers, ssl=self.trust()
            ) as answer,
        ):
            return answer.status, await answer.read()

    async def shown(self) -> str:
        """The name in the certificate that a connection gets."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.trust())
        subject = dict(each[0] for each in writer.get_extra_info("peercert")["subject"])
        writer.close()
        return str(subject["commonName"])


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path)
    site.certify("first")
    site.port = int((await site.secure.start()).rpartition(":")[2])
    yield site
    await site.secure.stop()


async def test_only_authorized_callers_read_the_metrics_and_nothing_else_is_served(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    assert await site.get("good") == (200, LARGE)
    assert (await site.get())[0] == 401
    assert (await site.get("forged"))[0] == 401
    assert (await site.get("poor"))[0] == 403
    assert (await site.get("good", "/healthz"))[0] == 404
    assert site.reviewed == ["good", "forged", "poor"]
    assert not caplog.records
    assert (await site.get("breaks"))[0] == 500
    assert "breaks" not in caplog.messages[0]


async def test_without_tls_there_is_no_response(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(b"GET /metrics HTTP/1.1\r\nAuthorization: Bearer good\r\n\r\n")
    assert b"a 1" not in await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert site.reviewed == []


async def test_a_changed_certificate_is_served_and_a_broken_one_is_not(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    assert await site.shown() == "first"
    site.certify("second")
    assert await site.shown() == "second"
    (site.folder / "tls.crt").write_text("no certificate")
    for _ in range(3):
        assert await site.shown() == "second"
    assert len(caplog.messages) == 1
    (site.folder / "tls.key").unlink()
    assert await site.shown() == "second"
    site.certify("third")
    assert await site.shown() == "third"


async def test_a_certificate_that_cannot_be_read_at_the_start_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="TRAININGJOB_METRICS__CERTIFICATE_DIR"):
        await Site(tmp_path).secure.start()


async def test_connections_without_a_handshake_stay_within_the_connection_limit(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    silent = []
    for _ in range(3 * CONNECTIONS):
        each = socket.socket()
        each.setblocking(False)
        await loop.sock_connect(each, ("127.0.0.1", site.port))
        silent.append(each)
    port = site.secure._port
    await eventually(lambda: port.connections.closed_total >= 2 * CONNECTIONS)
    assert len(port.connections) <= CONNECTIONS
    # What was closed for others is gone at once, and not when its time is over.
    await eventually(lambda: len(port._connecting) <= CONNECTIONS)
    assert await site.get("good") == (200, LARGE)
    for each in silent:
        each.close()
    await eventually(lambda: len(port.connections) == 0 and not port._connecting)
    assert not caplog.records


async def test_a_client_that_disconnects_during_its_review_is_removed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = asyncio.Event()

    async def slow(token: str) -> bool:
        site.reviewed.append(token)
        await answers.wait()
        return True

    monkeypatch.setattr(site.secure._callers, "_review", slow)
    _, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=site.trust())
    writer.write(b"GET /metrics HTTP/1.1\r\nAuthorization: Bearer good\r\n\r\n")
    await eventually(lambda: site.reviewed == ["good"])
    writer.transport.abort()
    await eventually(lambda: len(site.secure._port.connections) == 0)
    answers.set()
    await eventually(lambda: not site.secure._callers._running)
    assert await site.get("good") == (200, LARGE)
