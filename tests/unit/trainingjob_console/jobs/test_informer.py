"""Whatever fails on the way, the index is eventually equal to the API server's list."""

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
from trainingjob_console.jobs.index import JobIndex
from trainingjob_console.jobs.informer import JobInformer
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
    """Serves consistent lists in pages of two, and watches; fails on request."""

    def __init__(self) -> None:
        self.jobs: dict[int, Object] = {}
        self.failures: list[str] = []
        """The results of the next requests: an answer, `500`, or `410`."""

        self.refusals: dict[str, int] = {}
        """Namespaces whose lists are refused, and the status of the refusal."""

        self.requests: list[str] = []
        self._revision = 0
        self._forgotten = 0
        self._events: list[tuple[int, Object]] = []
        self._lists: dict[str, tuple[int, list[Object]]] = {}
        self._names = itertools.count()
        self._changed = asyncio.Event()
        self._breaks = 0

    def put(self, number: int, namespace: str = "ml") -> None:
        kind = "MODIFIED" if number in self.jobs else "ADDED"
        self._add(kind, number, make_raw(number, namespace=namespace))
        self.jobs[number] = self._events[-1][1]["object"]

    def delete(self, number: int) -> None:
        if number in self.jobs:
            self._add("DELETED", number, self.jobs.pop(number))

    def forget(self) -> None:
        """Drop the history of changes; watches from an old version get 410."""
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
        namespace = namespace_of(request)
        if refusal := self.refusals.get(namespace):
            return web.json_response({"code": refusal}, status=refusal)
        if "watch" in request.query:
            return await self._watch(request, namespace)
        return self._list(request.query.get("continue", ""), namespace)

    def _list(self, place: str, namespace: str) -> web.Response:
        if place and place not in self._lists:
            return web.json_response({"code": 410}, status=410)
        jobs = [job for job in self.jobs.values() if is_in(job, namespace)]
        revision, left = self._lists.pop(place, (self._revision, jobs))
        metadata = {"resourceVersion": str(revision)}
        if left[_PAGE:]:
            metadata["continue"] = str(next(self._names))
            self._lists[metadata["continue"]] = (revision, left[_PAGE:])
        return web.json_response({"metadata": metadata, "items": left[:_PAGE]})

    async def _watch(self, request: web.Request, namespace: str) -> web.StreamResponse:
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
                if revision > at and is_in(event["object"], namespace):
                    at = revision
                    await response.write(json.dumps(event).encode() + b"\n")
            if changed is self._changed:
                await changed.wait()
        return response


def namespace_of(request: web.Request) -> str:
    """The namespace of a request; empty: all namespaces."""
    _, found, rest = request.path.partition("/namespaces/")
    return rest.partition("/")[0] if found else ""


def is_in(job: Object, namespace: str) -> bool:
    """True if a job is in this namespace; empty: in any."""
    return namespace in ("", job["metadata"]["namespace"])


@asynccontextmanager
async def followed(folder: Path) -> AsyncIterator[tuple[Server, JobIndex]]:
    """A server, and the index that an informer fills from it, of all namespaces."""
    server = Server()
    async with fed(folder, server) as (_, index):
        yield server, index


@asynccontextmanager
async def fed(
    folder: Path, server: Server, *namespaces: str
) -> AsyncIterator[tuple[JobInformer, JobIndex]]:
    """An informer of some namespaces of a server, and the index that it fills."""
    index = JobIndex(max_jobs=100, epoch="e")
    app = web.Application()
    app.router.add_get("/{path:.*}", server.serve)
    serving = TestServer(app)
    await serving.start_server()
    config = folder / "kubeconfig"
    config.write_text(_KUBECONFIG % str(serving.make_url("")).rstrip("/"))
    kube = Kube(Account(config))
    informer = JobInformer(kube, index, namespaces)
    running = asyncio.create_task(informer.run())
    try:
        yield informer, index
    finally:
        running.cancel()
        await asyncio.wait([running])
        server.break_watches()
        await kube.close()
        await serving.close()


async def equal(server: Server, index: JobIndex) -> None:
    """Wait until the index is equal to the server's list."""
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
async def test_an_incomplete_list_removes_nothing(tmp_path: Path, failure: str) -> None:
    async with followed(tmp_path) as (server, index):
        for number in range(5):
            server.put(number)
        await equal(server, index)
        # It lists again, and only the complete list removes what was deleted meanwhile.
        server.failures = ["500", "410", "", failure]
        server.delete(4)
        server.forget()
        server.break_watches()
        await equal(server, index)
        assert server.requests.count("list") >= 6


async def test_quiet_watches_that_end_without_an_error_do_not_increase_the_back_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_BACKOFF_S", (0.001, 3600.0))
    monkeypatch.setattr(watch, "_LASTING_S", 0.0)
    async with followed(tmp_path) as (server, index):
        for number in range(1, 31):  # with doubling, the back-off would be days by then
            async with asyncio.timeout(20):
                while server.requests.count("watch") < number:
                    await asyncio.sleep(0.001)
            server.break_watches()
        server.put(0)
        await equal(server, index)


async def has(index: JobIndex, *names: str) -> None:
    """Wait until the index is complete, and has the jobs of these names."""
    async with asyncio.timeout(20):
        while not index.is_complete or {job.name for job in index.jobs()} != set(names):
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("refusal", [403, 404])
async def test_a_deleted_namespace_does_not_block_the_jobs_of_the_others(
    tmp_path: Path, refusal: int
) -> None:
    server = Server()
    server.put(1)
    server.refusals["gone"] = refusal
    async with fed(tmp_path, server, "ml", "gone") as (informer, index):
        await has(index, "job-1")
        assert informer.error is not None
        # Its Role is back: it is listed again without a restart.
        server.put(2, "gone")
        del server.refusals["gone"]
        await has(index, "job-1", "job-2")
        assert informer.error is None


@pytest.mark.parametrize("refusal", [403, 404])
async def test_the_jobs_of_a_deleted_namespace_are_removed_and_return_with_it(
    tmp_path: Path, refusal: int
) -> None:
    server = Server()
    server.put(1)
    server.put(2, "goes")
    async with fed(tmp_path, server, "ml", "goes") as (informer, index):
        await has(index, "job-1", "job-2")
        # The open watch continues; the next one is refused.
        server.refusals["goes"] = refusal
        server.break_watches()
        await has(index, "job-1")
        assert informer.error is not None
        del server.refusals["goes"]
        await has(index, "job-1", "job-2")


@pytest.mark.parametrize(("namespaces", "refusal"), [((), 403), (("ml", "away"), 500)])
async def test_a_server_that_refuses_all_or_does_not_answer_completes_no_list(
    tmp_path: Path, namespaces: tuple[str, ...], refusal: int
) -> None:
    server = Server()
    server.put(1)
    server.refusals["away" if namespaces else ""] = refusal
    async with fed(tmp_path, server, *namespaces) as (informer, index):
        async with asyncio.timeout(20):
            while informer.error is None or len(server.requests) < 10:
                await asyncio.sleep(0.001)
        assert not index.is_complete


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
def test_after_any_failures_the_index_is_equal_to_the_server(
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
