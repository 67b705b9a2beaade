"""Writes of a process that lost the Lease never reach the API server."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from trainingjob_api.errors import UnavailableError
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.kube.connection import Connection
from trainingjob_operator.kube.gateway import Gateway

KEY = JobKey("ml", "digits")


class Server:
    """Responds to every request with an empty object, once a test allows it."""

    def __init__(self) -> None:
        self.methods: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.methods.append(request.method)
        await self.may_answer.wait()
        return web.json_response({})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    [(_, server.port)] = runner.addresses
    yield server
    server.may_answer.set()
    await runner.cleanup()


class Lease:
    """Holds if the process is the leader."""

    is_held = True

    def __call__(self) -> bool:
        return self.is_held


def gateway(server: Server, lease: Lease) -> Gateway:
    configuration = Configuration(host=f"http://127.0.0.1:{server.port}")
    return Gateway(Connection(configuration, "default"), timeout_s=30, may_write=lease)


async def test_without_the_lease_it_reads_and_does_not_write(server: Server) -> None:
    lease = Lease()
    async with gateway(server, lease) as subject:
        await subject.patch_job_status(KEY, {})
        lease.is_held = False
        with pytest.raises(UnavailableError, match="does not hold the Lease"):
            await subject.patch_job_status(KEY, {})
        await subject.get_job(KEY)
    assert server.methods == ["PATCH", "GET"]


async def test_a_write_that_waited_for_a_connection_while_the_lease_was_lost_is_not_sent(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainingjob_operator.kube.gateway._CONNECTIONS", 1)
    lease = Lease()
    async with gateway(server, lease) as subject:
        server.may_answer.clear()
        reading = asyncio.create_task(subject.get_job(KEY))
        while not server.methods:
            await asyncio.sleep(0)
        writing = asyncio.create_task(subject.patch_job_status(KEY, {}))
        await asyncio.sleep(0)
        lease.is_held = False
        server.may_answer.set()
        await reading
        with pytest.raises(UnavailableError, match="does not hold the Lease"):
            await writing
    assert server.methods == ["GET"]
