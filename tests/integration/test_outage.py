"""The promise, in one test: thousands of jobs finish while the endpoint is down, the operator is
killed in the middle, and when the endpoint is back there is exactly one row for each job.
"""

import asyncio
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.api import Api, ApiServerUnderTest
from tests.support.builders import make_job
from tests.support.ledger import Ledger
from tests.support.operator import OperatorProcess
from trainingjob_sandbox.client import ApiError, Listed

Object = dict[str, Any]
AT_ONCE = 12
CACHE = 1000
GROWTH_LIMIT_MIB = 30.0
SLOWEST_S = 1.0


def how_many(api_server: ApiServerUnderTest) -> int:
    """Ten thousand on the sandbox; a tenth on a real server, where each takes as much longer."""
    return 10_000 if api_server.sandbox is not None else 1_000


class Node:
    """Ends every pod with success as soon as it is there; notes when each job's pod ended."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._path = f"/api/v1/namespaces/{api.namespace}/pods"
        self._queue: asyncio.Queue[Object] = asyncio.Queue()
        self._seen: set[str] = set()
        self.ended_at: dict[str, float] = {}

    async def watch(self) -> None:
        async for change in self._api.client.watch(self._path):
            for pod in change.items if isinstance(change, Listed) else [change.object]:
                if pod["metadata"]["uid"] not in self._seen:
                    self._seen.add(pod["metadata"]["uid"])
                    self._queue.put_nowait(pod)

    async def work(self) -> None:
        while True:
            pod = await self._queue.get()
            with suppress(ApiError):
                await self._api.finish_pod(pod)
            self.ended_at[pod["metadata"]["labels"]["trainingjob.dev/job-name"]] = time.monotonic()


class Observer:
    """Notes when each job was seen to be finished, and what states of records are left."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._path = f"/apis/trainingjob.dev/v1alpha1/namespaces/{api.namespace}/trainingjobs"
        self.finished_at: dict[str, float] = {}
        self.state: dict[str, str] = {}

    def has_seen(self, count: int) -> bool:
        """Whether so many jobs have finished."""
        return len(self.finished_at) >= count

    async def watch(self) -> None:
        async for change in self._api.client.watch(self._path):
            for job in change.items if isinstance(change, Listed) else [change.object]:
                status = job.get("status") or {}
                name = job["metadata"]["name"]
                if status.get("phase") == "Succeeded":
                    self.finished_at.setdefault(name, time.monotonic())
                if "recordState" in status:
                    self.state[name] = status["recordState"]


@asynccontextmanager
async def playing(*parts: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        yield
        for task in tasks:
            assert not task.done(), task.exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def run_all(api: Api, names: list[str], observer: Observer) -> None:
    """Create these jobs, `AT_ONCE` in flight, until all are finished.

    In flight, not a second: the machine is shared, and what is measured is how long a job takes and
    not how long it queues.
    """
    started = len(observer.finished_at)
    for done, name in enumerate(names):
        await until(partial(observer.has_seen, started + done - AT_ONCE + 1), 60, name)
        await api.apply(make_job(name))
    await until(partial(observer.has_seen, started + len(names)), 60, "the last jobs")


async def until(condition: Any, patience_s: float, what: str) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


async def test_an_outage_loses_nothing_and_grows_nothing(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path, record_property: Any
) -> None:
    count = how_many(api_server)
    names = [f"job-{number:05}" for number in range(count)]
    half = names[: count // 2]
    with Ledger() as ledger:
        ledger.go_down()
        operator = OperatorProcess(
            api_server.operator_kubeconfig,
            tmp_path / "operator.log",
            TRAININGJOB_NAMESPACES=api.namespace,
            TRAININGJOB_PERSIST__URL=ledger.url,
        )
        node, observer = Node(api), Observer(api)
        with operator:
            operator.wait_until_ready()
            before = resident_mib(operator.process.pid)
            async with playing(
                node.watch(), observer.watch(), *(node.work() for _ in range(AT_ONCE))
            ):
                begun = time.monotonic()
                await run_all(api, half, observer)
                late = {
                    name: took
                    for name in half
                    if (took := observer.finished_at[name] - node.ended_at[name]) > SLOWEST_S
                }
                grown = resident_mib(operator.process.pid) - before
                operator.kill()
                operator.start()
                operator.wait_until_ready()
                await run_all(api, names[len(half) :], observer)
                ran = time.monotonic() - begun
                assert len(ledger.rows) == 0
                assert set(observer.state.values()) == {"Pending"}

                ledger.come_up()
                begun = time.monotonic()
                await until(lambda: len(ledger.rows) == count, 300, "the rows")
                drained = time.monotonic() - begun
                await until(
                    lambda: set(observer.state.values()) == {"Stored"}, 300, "all are stored"
                )
                settled = time.monotonic() - begun
            after = resident_mib(operator.process.pid)
            log = operator.log()
    print(  # noqa: T201 - the figures; shown with -s, and by `-rP`
        f"\n{count} jobs in {ran:.0f} s; rows after {drained:.1f} s "
        f"({count / drained:.0f} records/s), stored after {settled:.1f} s; "
        f"resident {before:.0f} MiB, +{grown:.0f} after half, {after:.0f} at the end"
    )
    assert {row["name"] for row in ledger.rows.values()} == set(names)
    assert len(ledger.rows) == count
    assert late == {}
    assert "this is a bug" not in log
    assert after - before < GROWTH_LIMIT_MIB
