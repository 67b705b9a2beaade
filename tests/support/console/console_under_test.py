"""The console in this process, over real HTTP, before the API server of a test."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from tests.support.apiserver.api import ApiServerUnderTest
from tests.support.console.raw_socket import RawSocket, raw_sockets_closed
from trainingjob_console.server import Console
from trainingjob_console.settings import Settings
from trainingjob_console.sockets.limits import Limits


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    headers: Mapping[str, str]
    text: str
    json: Any


@dataclass
class ConsoleUnderTest:
    """A running console, and a session of a browser with it.

    Attributes:
        console: the console, with its components.
        url: without a trailing slash.
        session: keeps cookies, as a browser does.
    """

    console: Console
    url: str
    session: aiohttp.ClientSession

    async def request(self, method: str, path: str, **arguments: Any) -> Answer:
        """Send a request."""
        async with self.session.request(
            method, self.url + path, allow_redirects=False, **arguments
        ) as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            parsed = await response.json() if is_json else None
            return Answer(response.status, dict(response.headers), text, parsed)

    async def socket(self, token: str = "") -> RawSocket:
        """Open another WebSocket, as a further tab does."""
        return await RawSocket.connect(urlsplit(self.url).port or 80, token=token)

    async def get(self, path: str, **arguments: Any) -> Answer:
        """Send a GET request."""
        return await self.request("GET", path, **arguments)

    async def post(self, path: str, body: object, **arguments: Any) -> Answer:
        """Send a POST request as the page does."""
        headers = {"Origin": self.url} | arguments.pop("headers", {})
        return await self.request("POST", path, json=body, headers=headers, **arguments)


@asynccontextmanager
async def running_console(
    server: ApiServerUnderTest | Path, *, limits: Limits | None = None, **settings: Any
) -> AsyncIterator[ConsoleUnderTest]:
    """Run a console on a free port, by default without a log-in."""
    kubeconfig = server if isinstance(server, Path) else server.kubeconfig
    given = {"address": "127.0.0.1:0", "auth": "none", "kubeconfig": kubeconfig} | settings
    console = Console(Settings.model_validate(given), limits)
    async with (
        console.running() as url,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
    ):
        with raw_sockets_closed():
            yield ConsoleUnderTest(console, url.rstrip("/"), session)
