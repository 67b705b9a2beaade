"""Deletion of jobs, pods and namespaces, with the control plane's own garbage collector."""

import asyncio
import time
from typing import Any

import pytest

from tests.support.apiserver.api import COLLECTED_S, Api, condition
from tests.support.builders import make_job, unscheduled
from tests.support.processes.operator import OperatorProcess
from tests.support.real.real_cluster import Kubectl

pytestmark = pytest.mark.real_only

Object = dict[str, Any]


async def running_job(api: Api, name: str, nodes: int = 2) -> list[Object]:
    """Create a job whose pods are all Running in the API server, without a node."""
    await api.apply(unscheduled(make_job(name, nodes=nodes)))
    for pod in await api.wait_for_pods(name, nodes):
        await api.start_pod(pod)
    await api.wait_for_phase(name, "Running")
    return await api.pods(name)


async def services(api: Api) -> list[str]:
    found, _ = await api.client.list(f"/api/v1/namespaces/{api.namespace}/services")
    return [service["metadata"]["name"] for service in found]


def uids(pods: list[Object]) -> list[str]:
    return [pod["metadata"]["uid"] for pod in pods]


async def bind(api: Api, pod: Object, node: str = "played-by-a-test") -> None:
    """Bind a pod to a node: from then on it is deleted only after the node has confirmed that it stopped."""
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    body = {"metadata": {"name": pod["metadata"]["name"]}, "target": target}
    path = f"/api/v1/namespaces/{api.namespace}/pods/{pod['metadata']['name']}/binding"
    await api.client.create(path, body)


@pytest.mark.parametrize("cascade", ["background", "foreground"])
async def test_the_pods_and_the_service_of_a_deleted_job_are_deleted(
    operator: OperatorProcess, api: Api, kubectl: Kubectl, cascade: str
) -> None:
    await running_job(api, "gone")
    assert len(await services(api)) == 1

    said = await asyncio.to_thread(
        kubectl, "delete", "tj", "gone", f"--cascade={cascade}", "--wait", "--timeout=90s"
    )

    assert said.startswith('trainingjob.trainingjob.dev "gone" deleted')
    assert await api.job_is_gone("gone")
    await api.wait_for_pods("gone", 0, patience_s=COLLECTED_S)
    async with asyncio.timeout(COLLECTED_S):
        while await services(api):
            await asyncio.sleep(0.05)


async def test_a_job_in_foreground_deletion_starts_no_pods(
    operator: OperatorProcess, api: Api, kubectl: Kubectl
) -> None:
    pods = await running_job(api, "last")
    await bind(api, pods[0])

    kubectl("delete", "tj", "last", "--cascade=foreground", "--wait=false")
    stopping = await api.wait_for_phase("last", "Stopping")
    left = await api.wait_for_pods("last", 1, patience_s=COLLECTED_S)
    assert uids(left) == uids(pods[:1])
    assert "deletionTimestamp" in left[0]["metadata"]
    assert (stopping["restarts"], stopping["disruptions"]) == (0, 0)

    await api.delete_pod(left[0], grace_s=0)  # its node: it has stopped
    async with asyncio.timeout(COLLECTED_S):
        while not await api.job_is_gone("last"):
            await asyncio.sleep(0.05)
    assert await api.pods("last") == []


async def test_orphaned_pods_are_not_modified(
    operator: OperatorProcess, api: Api, kubectl: Kubectl
) -> None:
    pods = await running_job(api, "parent")

    await asyncio.to_thread(
        kubectl, "delete", "tj", "parent", "--cascade=orphan", "--wait", "--timeout=90s"
    )

    assert await api.job_is_gone("parent")
    # A job of the same name, which comes later, has no claim on them.
    await api.apply(unscheduled(make_job("parent")))
    async with asyncio.timeout(20):
        while len(found := await api.pods("parent")) < 3:
            await asyncio.sleep(0.05)
    orphans = [pod for pod in found if pod["metadata"]["uid"] in uids(pods)]
    assert len(orphans) == 2
    for pod in orphans:
        assert not pod["metadata"].get("ownerReferences")
        assert "deletionTimestamp" not in pod["metadata"]
    [mine] = [pod for pod in found if pod["metadata"]["uid"] not in uids(pods)]
    await api.start_pod(mine)
    status = await api.wait_for_phase("parent", "Running")
    assert (status["active"], status["disruptions"]) == (1, 0)


async def test_a_pod_deleted_by_its_user_is_a_disruption_and_its_replacement_waits_for_it(
    operator: OperatorProcess, api: Api, kubectl: Kubectl
) -> None:
    pods = await running_job(api, "hit")
    await bind(api, pods[0])

    kubectl("delete", "pod", pods[0]["metadata"]["name"], "--wait=false")
    status = await api.wait_for_job("hit", lambda s: s["disruptions"] == 1)

    assert (status["attempt"], status["restarts"], status["phase"]) == (1, 0, "Restarting")
    assert condition(status, "Restarting")["reason"] == "PodLost"
    left = await api.wait_for_pods("hit", 1)  # the other one goes: all ranks start as one
    assert uids(left) == uids(pods[:1])

    await api.delete_pod(left[0], grace_s=0)  # its node: it has stopped
    for pod in await api.wait_for_pods("hit", 2, attempt=1):
        await api.start_pod(pod)
    status = await api.wait_for_phase("hit", "Running")
    assert (status["restarts"], status["disruptions"]) == (0, 1)
    assert len(await api.pods("hit")) == 2


async def test_a_force_deleted_pod_is_a_disruption(
    operator: OperatorProcess, api: Api, kubectl: Kubectl
) -> None:
    pods = await running_job(api, "forced", nodes=1)

    kubectl.run("delete", "pod", pods[0]["metadata"]["name"], "--force", "--grace-period=0")

    await api.wait_for_pods("forced", 1, attempt=1)
    status = (await api.job("forced"))["status"]
    assert (status["restarts"], status["disruptions"]) == (0, 1)


async def test_a_namespace_with_running_jobs_can_be_deleted(
    operator: OperatorProcess, api: Api, admin_kubectl: Kubectl
) -> None:
    for number in range(3):
        await running_job(api, f"running-{number}")
    begun = time.monotonic()

    await asyncio.to_thread(admin_kubectl, "delete", "namespace", api.namespace, "--timeout=60s")

    assert time.monotonic() - begun < 60
    assert operator.is_running
    assert "this is a bug" not in operator.log()
