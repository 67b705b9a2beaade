"""The console behind a proxy that has a token of its own for each user, as with OIDC."""

import asyncio
import os
from pathlib import Path

import aiohttp
import pytest

from tests.support.apiserver.api import Api
from tests.support.builders import make_job
from tests.support.console.nginx import Nginx, find_nginx
from tests.support.console.raw_socket import RawSocket
from tests.support.console.running import running_console
from trainingjob_console.sockets.limits import Limits

REQUIRE_NGINX = "TRAININGJOB_TEST_REQUIRE_NGINX"
IDLE_S = 1
"""For a minute, which is nginx's own: all times here are a sixtieth of those on a cluster."""

PINGS = Limits(ping=20 / 60, pong=20 / 60)


@pytest.fixture(autouse=True)
def _nginx_is_there() -> None:
    if find_nginx() is None:
        why = "nginx is not installed (apt-get install nginx-light)"
        if os.environ.get(REQUIRE_NGINX):
            pytest.fail(f"{REQUIRE_NGINX} is set, and {why}")
        pytest.skip(why)


@pytest.mark.sandbox_only  # which knows every token
async def test_a_socket_lives_through_idle_minutes_and_a_reload_of_the_proxy(
    api: Api, tmp_path: Path
) -> None:
    async with running_console(api.server, auth="token", limits=PINGS) as console:
        with Nginx(tmp_path, console.url, token="of-the-proxy", idle_s=IDLE_S) as nginx:
            # Nobody has logged in, and the page is there.
            url = f"http://127.0.0.1:{nginx.port}/api/session"
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                assert (answer.status, (await answer.json())["loginNeeded"]) == (200, False)

            page = await RawSocket.connect(nginx.port)
            assert page.status == 101, page.head
            await page.send({"type": "sub", "id": 1, "kind": "jobs"})
            idle = asyncio.get_running_loop().time() + 3 * IDLE_S
            while asyncio.get_running_loop().time() < idle:
                await page.receive_kind("ping")
                await page.send({"type": "pong"})
            await asyncio.to_thread(nginx.reload)
            job = await api.apply(make_job("news"))
            frame = await page.receive_kind("delta")
            assert job["metadata"]["uid"] in str(frame)
            page.close()
