"""Whatever breaks on the way, the index has in the end what the API server has: no more, and no less."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.support.console.summaries import make_raw
from trainingjob_console.jobs.feed import JobFeed
from trainingjob_console.jobs.index import JobIndex
from trainingjob_console.kube import watch
from trainingjob_console.kube.client import Kube
from trainingjob_console.kube.credentials import Account

_KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "%s"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""
_PAGE = 2

Object = dict[str, Any]


class Server:
    """Serves jobs in pages of two from one moment, and the changes since; fails when it is told to."""

    def __init__(self) -> None:
        self.jobs: dict[int, Object] = {}
        self.failures: list[str] = []
        """What becomes of the next requests: an answer, `500`, or `410`."""

        self.requests: list[str] = []
        self._revision = 0
        self._forgotten = 0
        self._events: list[tuple[int, Object]] = []
        self._lists: dict[str, tuple[int, list[Object]]] = {}
        self._names = itertools.count()
        self._changed = asyncio.Event()
        self._breaks = 0

    def put(self, number: int) -> None:
        kind = "MODIFIED" if number in self.jobs else "ADDED"
        self._add(kind, number, make_raw(number))
        self.jobs[number] = self._events[-1][1]["object"]

    def delete(self, number: int) -> None:
        if number in self.jobs:
            self._add("DELETED", number, self.jobs.pop(number))

    def forget(self) -> None:
        """Forget the past; who asks for it gets 410."""
        self._forgotten = self._revision
        self._lists.clear()

    def break_watches(self) -> None:
        self._breaks += 1
        self._wake()

    def _add(self, kind: str, number: int, raw: Object) -> None:
        self._revision += 1
        metadata = raw["metadata"] | {"resourceVersion": str(self._revision)}
        self._events.append(
            (self._revision, {"type": kind, "object": raw | {"metadata": metadata}})
        )
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        failure = self.failures.pop(0) if self.failures else ""
        self.requests.append("watch" if "watch" in request.query else "list")
        if failure:
            return web.json_response({"code": int(failure)}, status=int(failure))
        if "watch" in request.query:
            return await self._watch(request)
        return self._list(request.query.get("continue", ""))

    def _list(self, place: str) -> web.Response:
        if place and place not in self._lists:
            return web.json_response({"code": 410}, status=410)
        revision, left = self._lists.pop(place, (self._revision, list(self.jobs.values())))
        metadata = {"resourceVersion": str(revision)}
        if left[_PAGE:]:
            metadata["continue"] = str(next(self._names))
            self._lists[metadata["continue"]] = (revision, left[_PAGE:])
        return web.json_response({"metadata": metadata, "items": left[:_PAGE]})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        at, breaks = int(request.query["resourceVersion"]), self._breaks
        response = web.StreamResponse()
        await response.prepare(request)
        if at < self._forgotten:
            gone = {"type": "ERROR", "object": {"code": 410}}
            await response.write(json.dumps(gone).encode() + b"\n")
            return response
        while breaks == self._breaks:
            changed = self._changed
            for revision, event in self._events:
                if revision > at:
                    at = revision
                    await response.write(json.dumps(event).encode() + b"\n")
            if changed is self._changed:
                await changed.wait()
        return response


@asynccontextmanager
async def followed(folder: Path) -> AsyncIterator[tuple[Server, JobIndex]]:
    """A server, and the index that a feed fills from it."""
    server, index = Server(), JobIndex(max_jobs=100, epoch="e")
    app = web.Application()
    app.router.add_get("/{path:.*}", server.serve)
    serving = TestServer(app)
    await serving.start_server()
    config = folder / "kubeconfig"
    config.write_text(_KUBECONFIG % str(serving.make_url("")).rstrip("/"))
    kube = Kube(Account(config))
    feed = asyncio.create_task(JobFeed(kube, index, ()).run())
    try:
        yield server, index
    finally:
        feed.cancel()
        await asyncio.wait([feed])
        server.break_watches()
        await kube.close()
        await serving.close()


async def equal(server: Server, index: JobIndex) -> None:
    """Wait until the index has what the server has, and each as it is there."""
    async with asyncio.timeout(20):
        while {job.uid: job.version for job in index.jobs()} != {
            raw["metadata"]["uid"]: raw["metadata"]["resourceVersion"]
            for raw in server.jobs.values()
        } or not index.is_complete:
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_BACKOFF_S", (0.001, 0.004))


@pytest.mark.parametrize("failure", ["500", "410"])
async def test_a_list_that_broke_off_is_no_list(tmp_path: Path, failure: str) -> None:
    async with followed(tmp_path) as (server, index):
        for number in range(5):
            server.put(number)
        await equal(server, index)
        # It is listed anew, and what was deleted meanwhile is found missing in the whole list only.
        server.failures = ["500", "410", "", failure]
        server.delete(4)
        server.forget()
        server.break_watches()
        await equal(server, index)
        assert server.requests.count("list") >= 6


async def test_quiet_watches_that_end_in_order_are_opened_again_as_soon_as_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_BACKOFF_S", (0.001, 3600.0))
    monkeypatch.setattr(watch, "_LASTING_S", 0.0)
    async with followed(tmp_path) as (server, index):
        for number in range(1, 31):  # the wait would be of days by then
            async with asyncio.timeout(20):
                while server.requests.count("watch") < number:
                    await asyncio.sleep(0.001)
            server.break_watches()
        server.put(0)
        await equal(server, index)


steps = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 7)),
    st.tuples(st.just("delete"), st.integers(0, 7)),
    st.tuples(st.just("break"), st.just(0)),
    st.tuples(st.just("forget"), st.just(0)),
    st.tuples(st.just("fail"), st.sampled_from((410, 500))),
    st.tuples(st.just("answer"), st.just(0)),
    st.tuples(st.just("pause"), st.integers(1, 4)),
)


@given(script=st.lists(steps, max_size=40))
@example(
    script=[
        *(("put", number) for number in range(6)),
        *(
            ("pause", 4),
            ("pause", 4),
            ("delete", 5),
            ("answer", 0),
            ("answer", 0),
            ("fail", 500),
            ("forget", 0),
        ),
    ]
)
@settings(
    max_examples=100,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_after_any_breaks_the_index_has_what_the_server_has(
    tmp_path: Path, script: list[tuple[str, int]]
) -> None:
    async def live() -> None:
        async with followed(tmp_path) as (server, index):
            for what, number in script:
                match what:
                    case "put":
                        server.put(number)
                    case "delete":
                        server.delete(number)
                    case "break":
                        server.break_watches()
                    case "forget":
                        server.forget()
                        server.break_watches()
                    case "fail":
                        server.failures.append(str(number))
                    case "answer":
                        server.failures.append("")
                    case _:
                        await asyncio.sleep(number / 1000)
            await equal(server, index)

    asyncio.run(live())
