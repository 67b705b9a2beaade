"""The API server client: limited log streams, which block no watch; keep-alive; deadlines."""

import asyncio
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.console.log_server import log_server
from tests.support.console.stalled_process import StalledLoop, slow_server
from trainingjob_console.errors import ApiServerError, BusyError
from trainingjob_console.kube import client
from trainingjob_console.kube.client import Kube

LOG = "/api/v1/namespaces/ml/pods/pod-0/log"
FOLLOWED = {"follow": "true"}


@pytest.mark.parametrize("token", ["anna", None])
async def test_at_the_limit_of_logs_one_more_is_refused_and_a_watch_is_opened(
    tmp_path: Path, token: str | None
) -> None:
    async with log_server(tmp_path) as server, AsyncExitStack() as stack:
        await server.write("one\n")
        kube = Kube(server.account, max_logs=3)
        stack.push_async_callback(kube.close)
        opened = [kube.log(LOG, token=token, query=FOLLOWED, idle_s=20) for _ in range(4)]
        for each in opened[:3]:
            await stack.enter_async_context(each)
        with pytest.raises(BusyError, match="3 logs are being read"):
            await stack.enter_async_context(opened[3])
        async with asyncio.timeout(20):
            watches = [
                await stack.enter_async_context(kube.watch(LOG, query=FOLLOWED, idle_s=20))
                for _ in range(100)
            ]
            assert [await each.content.readline() for each in watches] == [b"one\n"] * 100
        assert kube.open_logs == 3


async def test_a_closed_or_refused_log_stream_releases_its_slot(tmp_path: Path) -> None:
    async with log_server(tmp_path) as server:
        kube = Kube(server.account, max_logs=1)
        try:
            for _ in range(3):
                async with kube.log(LOG, token="anna", query=FOLLOWED, idle_s=20):
                    pass
            server.refused.add("anna")
            for _ in range(3):
                with pytest.raises(ApiServerError, match="you may not"):
                    await kube.log(LOG, token="anna", query={}, idle_s=20).__aenter__()
            assert kube.open_logs == 0
        finally:
            await kube.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other names for it")
@pytest.mark.parametrize("token", ["anna", None])
async def test_connections_have_tcp_keep_alive(tmp_path: Path, token: str | None) -> None:
    async with log_server(tmp_path) as server:
        await server.write("one\n")
        async with server.kube.log(LOG, token=token, query=FOLLOWED, idle_s=20) as response:
            assert response.connection is not None
            assert response.connection.transport is not None
            sock = response.connection.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            assert [sock.getsockopt(socket.IPPROTO_TCP, name) for name in names] == [30, 10, 3]


async def test_a_response_that_arrived_while_the_process_was_stalled_is_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    standstill = StalledLoop(monkeypatch)
    async with slow_server() as server:
        account: Any = SimpleNamespace(server=server.url, tls=lambda **_: None)
        kube = Kube(account)
        calling = asyncio.create_task(kube.call("GET", "/version", token="anna"))
        await server.was_asked.wait()
        server.answer({"major": "1"})
        standstill.lasts(600)
        assert await calling == {"major": "1"}
        await kube.close()


async def test_a_server_that_does_not_answer_within_the_deadline_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "_CALL_S", 0.1)
    async with slow_server() as server:
        account: Any = SimpleNamespace(server=server.url, tls=lambda **_: None)
        kube = Kube(account)
        with pytest.raises(ApiServerError, match="does not answer"):
            await kube.call("GET", "/version", token="anna")
        await kube.close()
        server.answer({})
