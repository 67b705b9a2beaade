"""Restarts of the API server, and etcd compaction during a watch and a paged list."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.cluster.control_plane import ControlPlane, Options
from tests.support.apiserver.api import COLLECTED_S, Api, ApiServerUnderTest
from tests.support.apiserver.audit import AuditLog
from tests.support.builders import make_job, unscheduled
from tests.support.processes.operator import OperatorProcess
from tests.support.processes.processes import eventually
from tests.support.real.account import with_operator_account
from tests.support.real.real_cluster import install_crds, new_control_plane
from trainingjob_api.errors import GoneError
from trainingjob_operator.clock import SystemClock
from trainingjob_operator.core.decision import DecisionSettings
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.resync import Resync
from trainingjob_operator.jobs.work_queue import WorkQueue
from trainingjob_operator.kube import response_reader
from trainingjob_operator.kube.cluster import Page
from trainingjob_operator.kube.connection import connect
from trainingjob_operator.kube.gateway import Gateway

pytestmark = pytest.mark.real_only

Object = dict[str, Any]


@pytest.fixture(scope="module")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerUnderTest]:
    """Start a control plane for this module: its controllers recover slowly from the restarts."""
    folder = tmp_path_factory.mktemp("outages")
    with new_control_plane(folder / "state", Options(scheduler=False)) as plane:
        install_crds(plane.kubeconfig)
        with with_operator_account(plane, folder, restarts=True) as server:
            yield server


@pytest.fixture
def operator(plane: ControlPlane, api: Api, tmp_path: Path) -> Iterator[OperatorProcess]:
    """Run an operator that relies on its watches: no resync is due during a test."""
    with OperatorProcess(
        api.server.operator_kubeconfig,
        tmp_path / "operator.log",
        TRAININGJOB_RECONCILER__RESYNC_INTERVAL="1h",
        TRAININGJOB_RESTART__BACKOFF="0",
    ) as process:
        process.wait_until_ready()
        yield process
        assert process.is_running, process.log()


async def running_job(api: Api, name: str) -> list[Object]:
    await api.apply(unscheduled(make_job(name, nodes=2)))
    pods = await api.wait_for_pods(name, 2)
    for pod in pods:
        await api.start_pod(pod)
    await api.wait_for_phase(name, "Running")
    return pods


async def restart(
    plane: ControlPlane, api: Api, *, between: Callable[[], object] = lambda: None
) -> None:
    """Restart the API server from this thread: a child process is killed when the thread that started it ends.

    `between` is called while only etcd is up.
    """
    plane.stop_api_server()
    between()
    plane.start_api_server()
    await api.reconnect()


def uids(pods: list[Object]) -> list[str]:
    return [pod["metadata"]["uid"] for pod in pods]


async def test_jobs_keep_running_during_a_restart_of_the_api_server(
    operator: OperatorProcess,
    operator_user: str,
    audit: AuditLog,
    plane: ControlPlane,
    api: Api,
) -> None:
    jobs = {name: await running_job(api, name) for name in ("one", "two", "three")}

    await restart(plane, api)

    assert operator.is_running
    await api.finish_pod(jobs["one"][0])
    await api.finish_pod(jobs["one"][1])
    await api.wait_for_phase("one", "Succeeded")
    await api.finish_pod(jobs["two"][1], 1)
    for pod in await api.wait_for_pods("two", 2, attempt=1):
        await api.start_pod(pod)
    await api.wait_for_phase("two", "Running")
    await api.apply(unscheduled(make_job("after")))
    await api.wait_for_pods("after", 1)
    assert uids(await api.pods("three")) == uids(jobs["three"])
    for name in jobs:
        status = (await api.job(name))["status"]
        assert status["disruptions"] == 0
    # Three jobs of two, an attempt, and one that came later.
    await expect_pod_creations(audit, operator_user, 2 * 3 + 2 + 1)
    await eventually(lambda: operator.probe("/readyz")[0] == 200, within_s=60)


async def test_a_watch_with_an_expired_resource_version_loses_no_events(
    operator: OperatorProcess,
    operator_user: str,
    audit: AuditLog,
    plane: ControlPlane,
    api: Api,
) -> None:
    hit = await running_job(api, "hit")
    await running_job(api, "doomed")
    calm = await running_job(api, "calm")

    # While the operator is frozen, a job is created, and a job and a pod are deleted. Then the
    # history is compacted: the restarted server has only the current objects, and responds with 410 to
    # watches from older resource versions.
    os.kill(operator.process.pid, signal.SIGSTOP)
    try:
        await api.delete_pod(hit[1], grace_s=0)
        await api.delete_job("doomed")
        await api.apply(unscheduled(make_job("newcomer")))
        await restart(plane, api, between=plane.compact)
        listed = lists(audit, operator_user)
    finally:
        os.kill(operator.process.pid, signal.SIGCONT)

    await api.wait_for_pods("newcomer", 1, patience_s=60)
    for pod in await api.wait_for_pods("hit", 2, attempt=1, patience_s=60):
        await api.start_pod(pod)
    status = await api.wait_for_phase("hit", "Running")
    assert (status["restarts"], status["disruptions"]) == (0, 1)
    assert uids(await api.pods("calm")) == uids(calm)
    await api.wait_for_pods("doomed", 0, patience_s=COLLECTED_S)
    # Three jobs of two ranks, a second attempt of one job, and the newcomer.
    await expect_pod_creations(audit, operator_user, 2 * 3 + 2 + 1)
    # kopf and the gateway made new lists: the watches' resource versions had really expired.
    async with asyncio.timeout(90):
        while lists(audit, operator_user) < listed + 2:
            await asyncio.sleep(0.1)


async def expect_pod_creations(audit: AuditLog, user: str, count: int) -> None:
    """Expect this number of pod creations by the operator; the audit log has them after a moment."""

    def made() -> int:
        return audit.count(user=user, verb="create", resource="pods", code=201).total()

    await eventually(lambda: made() >= count, within_s=60)
    assert made() == count


def lists(audit: AuditLog, user: str) -> int:
    """Return how many times the operator has listed all jobs."""
    return audit.count(user=user, verb="list", resource="trainingjobs", code=200).total()


class Interrupted:
    """The gateway, with a hook between the first two pages of the first list."""

    def __init__(self, real: Gateway, happens: Callable[[], Awaitable[None]]) -> None:
        self.real = real
        self.happens: Callable[[], Awaitable[None]] | None = happens
        self.expired = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    async def list_jobs(self, namespace: str | None) -> AsyncIterator[Page]:
        try:
            async for page in self.real.list_jobs(namespace):
                yield page
                if self.happens is not None:
                    happens, self.happens = self.happens, None
                    await happens()
        except GoneError:
            self.expired += 1
            raise


async def test_a_list_with_an_expired_continue_token_is_restarted_and_complete(
    plane: ControlPlane, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_reader, "MAX_ITEMS", 2)
    for number in range(5):
        await api.apply(make_job(f"job-{number}"))

    async def history_is_lost() -> None:
        await api.apply(make_job("job-early"))
        await api.delete_job("job-4")
        await restart(
            plane, api, between=plane.compact
        )  # it would remember the list's moment otherwise

    index, queue = JobIndex(100), WorkQueue[JobKey]()
    connection = await connect(str(api.server.kubeconfig))
    async with Gateway(connection, timeout_s=10) as real:
        cluster = Interrupted(real, history_is_lost)
        resync = Resync(
            cluster=cluster,
            index=index,
            queue=queue,
            clock=SystemClock(),
            namespaces=[api.namespace],
            retention_s=lambda: 3600.0,
            interval_s=3600,
            settings=DecisionSettings(),
        )
        await resync.resync_until_done()
    queue.close()

    assert cluster.expired == 1
    names = sorted(entry.job.key.name for entry in index)
    assert names == ["job-0", "job-1", "job-2", "job-3", "job-early"]
