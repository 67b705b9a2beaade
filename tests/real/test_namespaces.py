"""The operator's requests while a namespace is terminating, and after it is deleted."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.apiserver.api import Api
from tests.support.apiserver.audit import AuditLog
from tests.support.builders import make_job, unscheduled
from tests.support.processes.operator import OperatorProcess
from tests.support.real.real_cluster import Kubectl

pytestmark = pytest.mark.real_only


@pytest.fixture
def operator(api: Api, tmp_path: Path) -> Iterator[OperatorProcess]:
    """Run an operator that resyncs with the cluster every second."""
    with OperatorProcess(
        api.server.operator_kubeconfig,
        tmp_path / "operator.log",
        TRAININGJOB_RECONCILER__RESYNC_INTERVAL="1s",
        TRAININGJOB_RESTART__BACKOFF="0",
    ) as process:
        process.wait_until_ready()
        yield process


async def test_nothing_is_created_or_cached_for_a_terminating_namespace(
    operator: OperatorProcess,
    operator_user: str,
    audit: AuditLog,
    api: Api,
    admin_kubectl: Kubectl,
) -> None:
    for number in range(3):
        name = f"running-{number}"
        await api.apply(unscheduled(make_job(name, nodes=2)))
        for pod in await api.wait_for_pods(name, 2):
            await api.start_pod(pod)
        await api.wait_for_phase(name, "Running")
        async with asyncio.timeout(60):  # the last that it writes while all is well
            while not await api.events(name):
                await asyncio.sleep(0.05)
    # Something that holds the namespace back, so that the operator meets it as it goes.
    held = {"metadata": {"name": "held", "finalizers": ["example.com/held"]}}
    held_path = f"/api/v1/namespaces/{api.namespace}/configmaps"
    await api.client.create(held_path, held)
    before = len(audit.requests(user=operator_user, namespace=api.namespace, verb="create"))

    admin_kubectl("delete", "namespace", api.namespace, "--wait=false")
    async with asyncio.timeout(60):
        while not all([await api.job_is_gone(f"running-{n}") for n in range(3)]):
            await asyncio.sleep(0.05)
    await wait_for_comparisons(audit, operator_user)
    await api.client.patch(f"{held_path}/held", {"metadata": {"finalizers": None}})
    async with asyncio.timeout(60):
        while api.namespace in admin_kubectl("get", "namespaces", "-o", "name"):
            await asyncio.sleep(0.2)

    tried = audit.requests(user=operator_user, namespace=api.namespace, verb="create")[before:]
    assert {request.code for request in tried} <= {403}, tried
    pods = [request for request in tried if request.resource == "pods"]
    assert len(pods) <= 2 * 3, pods  # a job asks for its ranks once, and then not for a minute
    await wait_for_comparisons(audit, operator_user)  # what was under way has been answered
    gone = len(audit.requests(user=operator_user, namespace=api.namespace))
    await wait_for_comparisons(audit, operator_user)
    assert len(audit.requests(user=operator_user, namespace=api.namespace)) == gone
    assert "this is a bug" not in operator.log()


async def test_a_recreated_namespace_is_served_like_a_new_one(
    operator: OperatorProcess, api: Api, kubectl: Kubectl, admin_kubectl: Kubectl
) -> None:
    await api.apply(unscheduled(make_job("again")))
    [old] = await api.wait_for_pods("again", 1)
    await asyncio.to_thread(admin_kubectl, "delete", "namespace", api.namespace, "--timeout=60s")
    admin_kubectl("create", "namespace", api.namespace)
    await asyncio.to_thread(
        kubectl, "wait", "--for=create", "serviceaccount/default", "--timeout=60s"
    )

    await api.apply(unscheduled(make_job("again")))

    [new] = await api.wait_for_pods("again", 1)
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    await api.start_pod(new)
    status = await api.wait_for_phase("again", "Running")
    assert (status["attempt"], status["disruptions"]) == (0, 0)


async def wait_for_comparisons(audit: AuditLog, user: str, count: int = 2) -> None:
    """Wait until the operator has listed all jobs and all pods this many more times."""

    def lists() -> int:
        requests = audit.requests(user=user, verb="list", namespace="", resource="pods")
        return len(requests)

    begun = lists()
    async with asyncio.timeout(90):
        while lists() < begun + count:
            await asyncio.sleep(0.1)
