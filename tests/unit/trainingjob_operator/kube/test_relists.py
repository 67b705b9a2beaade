"""The requests of kopf's watches, and what they say: opened behind a list, gone on with, not yet."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from trainingjob_operator.kube.first_lists import ComparedLists
from trainingjob_operator.kube.relists import RelistTrace

JOBS = "/apis/trainingjob.dev/v1alpha1{}/trainingjobs"
EVERYWHERE = (None,)


class Watched:
    """A server that answers anything, and what is noticed of what it is asked."""

    def __init__(
        self, server: BaseTestServer, session: aiohttp.ClientSession, relists: list[None]
    ):
        self._server, self._session, self.relists = server, session, relists

    async def get(self, path: str, **query: str) -> None:
        async with self._session.get(self._server.make_url(path), params=query):
            pass


@pytest.fixture
async def trace() -> AsyncIterator[tuple[RelistTrace, Watched]]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=int(request.query.get("status", "200")))

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    relists: list[None] = []
    compared = ComparedLists(lambda namespace: "5" if namespace == "compared" else "")
    compared.take(JOBS.format("/namespaces/compared"), now="6")
    trace = RelistTrace(lambda: relists.append(None), compared=compared)
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession(trace_configs=[trace.config]) as session,
    ):
        yield trace, Watched(server, session, relists)


async def test_a_watch_behind_a_list_is_told_and_one_that_goes_on_is_not(
    trace: tuple[RelistTrace, Watched],
) -> None:
    _, watched = trace
    path = JOBS.format("")
    await watched.get(path, limit="500")
    assert watched.relists == []
    await watched.get(path, watch="true")
    await watched.get(path, watch="true")
    assert len(watched.relists) == 1


async def test_a_watch_is_told_unless_it_begins_at_a_list_that_was_compared(
    trace: tuple[RelistTrace, Watched],
) -> None:
    _, watched = trace
    for path, version, told in [
        (JOBS.format("/namespaces/compared"), "5", 0),
        (JOBS.format("/namespaces/compared"), "6", 1),
        (JOBS.format("/namespaces/other"), "5", 2),
        (JOBS.format(""), "5", 3),
    ]:
        await watched.get(path)
        await watched.get(path, watch="true", resourceVersion=version)
        assert len(watched.relists) == told


async def test_watches_have_begun_when_one_is_open(trace: tuple[RelistTrace, Watched]) -> None:
    relists, watched = trace
    path = JOBS.format("")
    await watched.get(path)
    assert not relists.have_begun(EVERYWHERE)
    await watched.get(path, watch="true", status="410")
    assert not relists.have_begun(EVERYWHERE), "it was refused"
    await watched.get(path, watch="true")
    assert relists.have_begun(EVERYWHERE)


async def test_watches_of_some_namespaces_have_begun_when_each_is_watched(
    trace: tuple[RelistTrace, Watched],
) -> None:
    relists, watched = trace
    asked: Any = ("a", "b")
    for namespace in asked:
        assert not relists.have_begun(asked)
        await watched.get(JOBS.format(f"/namespaces/{namespace}"), watch="true")
    assert relists.have_begun(asked)
