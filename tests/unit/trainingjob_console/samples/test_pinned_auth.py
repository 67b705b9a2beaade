"""The console sends its token to the operators, and to no other server."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer

from trainingjob_console.clock import utc_now
from trainingjob_console.samples.addresses import Addresses
from trainingjob_console.samples.pinned_auth import PinnedAuth
from trainingjob_console.samples.sampler import Sampler

PAGE = 'trainingjob_operator_build_info{version="1.2"} 1\n'


class Operator:
    """An operator's metrics over TLS, for callers with a token.

    Attributes:
        tokens: received.
    """

    def __init__(self) -> None:
        self.tokens: list[str] = []

    async def metrics(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("Authorization", ""))
        return web.Response(text=PAGE if self.tokens[-1] == "Bearer t" else "")

    @asynccontextmanager
    async def serving(self, certificate: trustme.LeafCert) -> AsyncIterator[str]:
        app, context = web.Application(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(context)
        app.router.add_get("/metrics", self.metrics)
        server = TestServer(app, scheme="https")
        await server.start_server(ssl=context)
        try:
            yield str(server.make_url("/metrics"))
        finally:
            await server.close()


def made(name: str = "operators.example") -> trustme.LeafCert:
    return trustme.CA().issue_cert(name)


def write(path: Path, certificate: trustme.LeafCert) -> None:
    """Write the certificate chain, as in a Secret."""
    path.write_bytes(b"".join(each.bytes() for each in certificate.cert_chain_pems))


async def is_up(sampler: Sampler) -> bool:
    """Return True if the operator responds to a single scrape."""
    task = asyncio.create_task(sampler.run())
    try:
        async with asyncio.timeout(20):
            while not sampler.operators:
                await asyncio.sleep(0.005)
    finally:
        task.cancel()
        await asyncio.wait([task])
    return bool(sampler.operators[0]["up"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tls.crt"


async def test_a_server_with_the_certificate_is_sent_the_token_whatever_its_name(
    file: Path,
) -> None:
    operator, certificate = Operator(), made()
    write(file, certificate)
    async with operator.serving(certificate) as url:
        assert await is_up(Sampler(Addresses([url]), utc_now, PinnedAuth(file, lambda: "t")))
    assert operator.tokens == ["Bearer t"]


def spoil(path: Path) -> None:
    path.write_text("no certificate")


@pytest.mark.parametrize(
    "prepare",
    [lambda path: write(path, made()), spoil, lambda path: None],
    ids=["other", "bad", "none"],
)
async def test_a_server_with_another_certificate_is_sent_no_token(
    file: Path, prepare: Callable[[Path], None]
) -> None:
    operator = Operator()
    prepare(file)
    async with operator.serving(made()) as url:
        assert not await is_up(Sampler(Addresses([url]), utc_now, PinnedAuth(file, lambda: "t")))
    assert operator.tokens == []


async def test_a_renewed_certificate_is_reloaded(file: Path) -> None:
    operator, renewed = Operator(), made()
    write(file, made())
    auth = PinnedAuth(file, lambda: "t")
    async with operator.serving(renewed) as url:
        assert not await is_up(Sampler(Addresses([url]), utc_now, auth))
        write(file, renewed)
        assert await is_up(Sampler(Addresses([url]), utc_now, auth))


async def test_without_a_token_none_is_sent(file: Path) -> None:
    operator, certificate = Operator(), made()
    write(file, certificate)
    async with operator.serving(certificate) as url:
        await is_up(Sampler(Addresses([url]), utc_now, PinnedAuth(file, lambda: "")))
    assert operator.tokens == [""]
