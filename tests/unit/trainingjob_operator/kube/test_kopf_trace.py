"""The trace of kopf's requests: kopf has discovered policies, or they are no longer served."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from trainingjob_operator.kube.kopf_trace import KopfRequestTrace

POLICIES = "/apis/trainingjob.dev/v1alpha1{}/retentionpolicies"


class Asked:
    """A server with scripted responses, and what the trace has noticed."""

    def __init__(self, server: BaseTestServer) -> None:
        self._server = server
        self.missing: list[str] = []
        self.seen = KopfRequestTrace(self.missing.append)

    async def request(self, method: str, path: str, status: int = 200) -> None:
        query = {"status": str(status)}
        async with (
            aiohttp.ClientSession(trace_configs=[self.seen.config]) as session,
            session.request(method, self._server.make_url(path), params=query),
        ):
            pass


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=int(request.query["status"]))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield Asked(server)


async def test_only_a_request_for_policies_shows_that_kopf_has_discovered_them(
    asked: Asked,
) -> None:
    await asked.request("GET", "/apis/trainingjob.dev/v1alpha1", 404)
    await asked.request("PATCH", POLICIES.format("/namespaces/ml"), 404)
    assert (asked.seen.has_asked, asked.missing) == (False, [])
    await asked.request("GET", POLICIES.format(""))
    assert (asked.seen.has_asked, asked.missing) == (True, [])


@pytest.mark.parametrize("scope", ["", "/namespaces/ml"])
async def test_policies_that_are_not_served_are_reported_as_missing(
    asked: Asked, scope: str
) -> None:
    path = POLICIES.format(scope)
    await asked.request("GET", path, 503)
    assert asked.missing == []
    await asked.request("GET", path, 404)
    assert asked.missing == [path]
