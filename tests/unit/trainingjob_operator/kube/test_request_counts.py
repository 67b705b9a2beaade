"""Requests are counted by verb and by class of status."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration

from hack.ports import free_port
from trainingjob_api.errors import UnavailableError
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.kube.connection import Connection
from trainingjob_operator.kube.gateway import Gateway
from trainingjob_operator.kube.request_counts import RequestCounts

KEY = JobKey("ml", "mnist")


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    """Has no job, returns an empty list of them, and responds with 503 to a new pod."""

    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST":
            return web.json_response({"message": "overloaded"}, status=503)
        if "limit" in request.query or "watch" in request.query:
            return web.json_response({"metadata": {"resourceVersion": "7"}, "items": []})
        return web.json_response({"reason": "NotFound", "details": {"name": "mnist"}}, status=404)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    yield server
    await server.close()


def connection(host: str) -> Connection:
    configuration = Configuration()
    configuration.host = host
    return Connection(configuration, "default")


async def test_the_gateway_counts_its_requests(server: TestServer) -> None:
    async with Gateway(connection(str(server.make_url("")).rstrip("/")), timeout_s=5) as gateway:
        assert await gateway.get_job(KEY) is None
        assert [page.items async for page in gateway.list_jobs(None)] == [[]]
        with pytest.raises(UnavailableError):
            await gateway.create_pod({"metadata": {"namespace": "ml"}})
    assert gateway.requests.by_verb_and_code == {
        ("get", "4xx"): 1,
        ("list", "2xx"): 1,
        ("create", "5xx"): 1,
    }


async def test_a_request_without_a_response_is_counted() -> None:
    async with Gateway(connection(f"http://127.0.0.1:{free_port()}"), timeout_s=5) as gateway:
        with pytest.raises(UnavailableError):
            await gateway.get_job(KEY)
    assert gateway.requests.by_verb_and_code == {("get", "none"): 1}


async def test_kopfs_requests_in_our_session_are_counted(server: TestServer) -> None:
    counts = RequestCounts()
    async with aiohttp.ClientSession(trace_configs=[counts.trace()]) as session:
        async with session.get(server.make_url("/jobs"), params={"watch": "true"}):
            pass
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"http://127.0.0.1:{free_port()}/jobs", params={"limit": "1"})
    assert counts.by_verb_and_code == {("watch", "2xx"): 1, ("list", "none"): 1}
