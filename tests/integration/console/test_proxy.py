"""The console behind TLS-terminating proxies, with the configurations of docs/console.md."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import trustme

from tests.support.apiserver.api import Api
from tests.support.builders import make_job
from tests.support.console.console_under_test import ConsoleUnderTest, running_console
from tests.support.console.documented_proxy import issue_certificate
from tests.support.console.proxies import HaProxy, Nginx, Proxy, Setting
from trainingjob_console.sockets.limits import Limits

pytestmark = pytest.mark.sandbox_only  # which knows every token

MINUTE_S = 3
"""Of the document: the times here are a twentieth of those on a cluster. A pause of this process that takes
two thirds of it is taken for the end of a socket."""

PINGS = Limits(ping=20 / 60 * MINUTE_S, pong=20 / 60 * MINUTE_S)
SILENT = Limits(ping=60.0)
TOKEN = "x" * 7_500
"""As long as one with many groups: it comes in two cookies."""

Socket = aiohttp.ClientWebSocketResponse


@pytest.fixture(params=[Nginx, HaProxy], ids=lambda each: str(each.program))
def kind(request: pytest.FixtureRequest) -> type[Proxy]:
    """Yield each kind of proxy; skip the test if it is not installed."""
    found: type[Proxy] = request.param
    found.find()
    return found


class Browser:
    """A client of the proxy with cookies, as a browser."""

    def __init__(self, proxy: Proxy, session: aiohttp.ClientSession) -> None:
        self.session = session
        self._headers = {"Origin": proxy.url}

    async def log_in(self) -> None:
        """Log in as the page does."""
        async with self.session.post(
            "/api/login", json={"token": TOKEN}, headers=self._headers
        ) as answer:
            assert answer.status == 204, await answer.text()

    async def get(self, path: str) -> Any:
        """Return the answer."""
        async with self.session.get(path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    @asynccontextmanager
    async def socket(self, position: str | None = None) -> AsyncIterator[Socket]:
        """Open the socket of a page of jobs from a position; None: from that of the current list, as a page does.

        Without a position, changes before the start of the subscription are not sent.
        """
        if position is None:
            position = (await self.get("/api/jobs"))["position"]
        async with self.session.ws_connect(
            "/ws", protocols=["trainingjob.v1"], headers=self._headers
        ) as socket:
            await socket.send_json({"type": "sub", "id": 1, "kind": "jobs", "position": position})
            yield socket


@asynccontextmanager
async def browser_behind_proxy(
    kind: type[Proxy], console: ConsoleUnderTest, folder: Path, **more: Any
) -> AsyncIterator[tuple[Proxy, Browser]]:
    """Run a console behind a proxy; yield a client of the proxy."""
    authority, trust = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trust)
    setting = Setting(
        folder=folder,
        console=urlsplit(console.url).netloc,
        certificate=issue_certificate(folder, authority),
        idle_s=MINUTE_S,
        **more,
    )
    with kind(setting) as proxy:
        async with aiohttp.ClientSession(
            proxy.url,
            connector=aiohttp.TCPConnector(ssl=trust),
            cookie_jar=aiohttp.CookieJar(unsafe=True),
        ) as session:
            yield proxy, Browser(proxy, session)


async def receive(socket: Socket, kind: str) -> dict[str, Any]:
    """Return the next frame of a kind; pings are answered, as by a page."""
    async with asyncio.timeout(60):
        while True:
            frame: dict[str, Any] = await socket.receive_json()
            if frame["type"] == "ping":
                await socket.send_json({"type": "pong"})
            if frame["type"] == kind:
                return frame


async def until_ended(socket: Socket) -> None:
    """Wait until the socket has ended; pings are answered."""
    async with asyncio.timeout(60):
        while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
            if message.json()["type"] == "ping":
                await socket.send_json({"type": "pong"})


async def test_a_page_survives_idle_minutes_and_a_reload_of_the_proxy(
    kind: type[Proxy], api: Api, tmp_path: Path
) -> None:
    async with (
        running_console(api.server, auth="token", limits=PINGS) as console,
        browser_behind_proxy(kind, console, tmp_path) as (proxy, browser),
    ):
        assert (await browser.get("/api/session"))["loginNeeded"]
        await browser.log_in()
        assert not (await browser.get("/api/session"))["loginNeeded"]
        async with browser.socket() as socket:
            clock = asyncio.get_running_loop().time
            idle = clock() + 3 * MINUTE_S
            while clock() < idle:
                await receive(socket, "ping")
            await asyncio.to_thread(proxy.reload)
            job = await api.apply(make_job("news"))
            assert job["metadata"]["uid"] in str(await receive(socket, "delta"))


async def test_a_page_resumes_after_a_proxy_reload_closed_its_socket(
    kind: type[Proxy], api: Api, tmp_path: Path
) -> None:
    async with (
        running_console(api.server, auth="token", limits=PINGS) as console,
        browser_behind_proxy(kind, console, tmp_path, leave_s=1) as (proxy, browser),
    ):
        await browser.log_in()
        position = (await browser.get("/api/jobs"))["position"]
        async with browser.socket(position) as socket:
            first = await api.apply(make_job("first"))
            position = (await receive(socket, "delta"))["seq"]
            await asyncio.to_thread(proxy.reload)
            await until_ended(socket)
        second = await api.apply(make_job("second"))
        async with browser.socket(position) as socket:
            frame = await receive(socket, "delta")
        assert second["metadata"]["uid"] in str(frame)
        assert first["metadata"]["uid"] not in str(frame)


async def test_a_proxy_closes_a_connection_without_pings_after_a_minute(
    kind: type[Proxy], api: Api, tmp_path: Path
) -> None:
    """So the tests above exceed the proxy's own idle limit."""
    async with (
        running_console(api.server, auth="token", limits=SILENT) as console,
        browser_behind_proxy(kind, console, tmp_path) as (_, browser),
    ):
        await browser.log_in()
        async with browser.socket() as socket:
            await until_ended(socket)


async def test_no_log_in_is_needed_if_the_proxy_sends_a_token_for_each_user(
    api: Api, tmp_path: Path
) -> None:
    Nginx.find()
    async with (
        running_console(api.server, auth="token", limits=PINGS) as console,
        browser_behind_proxy(Nginx, console, tmp_path, token="of-the-proxy") as (_, browser),
    ):
        assert not (await browser.get("/api/session"))["loginNeeded"]
        async with browser.socket() as socket:
            job = await api.apply(make_job("news"))
            assert job["metadata"]["uid"] in str(await receive(socket, "delta"))
