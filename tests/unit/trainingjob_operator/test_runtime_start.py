"""A start against the sandbox's API server: the number of lists, and changes during the start."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from kubernetes.aio.client import Configuration

from tests.support.apiserver.server_internals import RequestRecord, compact, record_requests
from tests.support.builders import make_job
from trainingjob_api.crd import retention_policy_crd, training_job_crd
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.kube.connection import Connection
from trainingjob_operator.runtime import Operator
from trainingjob_operator.settings import Settings
from trainingjob_sandbox.apiserver import ApiServer, ApiServerThread

PATIENCE_S = 20.0
GONE, STAYS, NEW = (JobKey("ml", name) for name in ("gone", "stays", "new"))


class Server:
    """An API server with two jobs that are to run, and two that are suspended."""

    def __init__(self, thread: ApiServerThread, requests: list[RequestRecord]) -> None:
        self._thread, self._requests = thread, requests
        self.url = thread.url
        self._do(lambda server: server.store.create("namespaces", {"metadata": {"name": "ml"}}))
        for key in (GONE, STAYS):
            self.create(key)
        for name in ("parked-1", "parked-2"):
            self.create(JobKey("ml", name), suspend=True)

    def create(self, key: JobKey, *, suspend: bool = False) -> None:
        job = make_job(key.name, namespace=key.namespace, suspend=suspend)
        self._do(lambda server: server.store.create("trainingjobs", job, namespace=key.namespace))

    def delete(self, key: JobKey) -> None:
        self._do(lambda server: server.store.delete("trainingjobs", key.name, key.namespace))

    def watched(self, plural: str) -> set[str]:
        """The namespaces in which watches of a kind were opened; "" stands for all."""
        asked = (each.path for each in self._requests if each.verb == "watch")
        return {path.namespace for path in asked if path.plural == plural}

    def forget_the_past(self) -> None:
        self._do(compact)

    def lists(self) -> Counter[str]:
        """How many lists of each kind were begun, those of a single object apart."""
        begun = (each for each in self._requests if each.verb == "list")
        return Counter(each.path.plural for each in begun if each.query.get("limit") != "1")

    def _do(self, work: Callable[[ApiServer], object]) -> None:
        self._thread.call(work)


@pytest.fixture
def server() -> Iterator[Server]:
    thread = ApiServerThread([training_job_crd(), retention_policy_crd()], bookmark_interval_s=1)
    requests = record_requests(thread.server)
    with thread:
        yield Server(thread, requests)


@asynccontextmanager
async def started(
    server: Server, in_between: Callable[[], object] = lambda: None, *, namespaces: str = ""
) -> AsyncIterator[Operator]:
    """An operator that is ready; `in_between` is called when it has listed and not yet watched."""
    document = {"web": {"address": "127.0.0.1:0"}, "namespaces": namespaces}
    settings = Settings.model_validate(document)
    operator = Operator(settings, Connection(Configuration(host=server.url), "default"))
    start = operator._start

    async def then_more() -> None:
        await start()
        in_between()

    operator._start = then_more  # type: ignore[method-assign]
    running = asyncio.create_task(operator.run())
    try:
        await until(lambda: operator.readiness_problem() is None)
        yield operator
    finally:
        operator.kopf_runner.stop_requested.set()
        await asyncio.wait_for(running, PATIENCE_S)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("namespaces", ["", "ml"])
async def test_a_start_and_the_first_sweep_list_all_jobs_and_all_pods_once(
    server: Server, namespaces: str
) -> None:
    async with started(server, namespaces=namespaces) as operator:
        # kopf watches the operator's own namespace as well, where the default policy lives.
        await until(lambda: bool(server.watched("retentionpolicies") & {"", "default"}))
        assert server.watched("trainingjobs") == server.watched("pods") == {namespaces}
        # The watches are open: if that were a reason to list again, it would have been asked for.
        assert not operator.engine.resync.is_requested
        await operator.engine.housekeeper.tick("default")
        lists = server.lists()
        assert operator.engine.resync.runs_total == 1
    assert (lists["trainingjobs"], lists["pods"]) == (1, 1)


async def test_changes_between_the_list_and_the_watch_are_not_missed(
    server: Server,
) -> None:
    def change() -> None:
        server.delete(GONE)
        server.create(NEW)

    async with started(server, change) as operator:
        index = operator.engine.index
        await until(lambda: GONE not in index and NEW in index)
        assert STAYS in index
        assert operator.engine.resync.runs_total == 1, "the watch says it, not another list"


async def test_where_the_list_is_too_old_to_watch_from_another_comparison_follows(
    server: Server,
) -> None:
    def change() -> None:
        server.delete(GONE)
        server.create(NEW)
        server.forget_the_past()

    async with started(server, change) as operator:
        index = operator.engine.index
        await until(lambda: operator.engine.resync.runs_total > 1)
        assert GONE not in index
        assert NEW in index
