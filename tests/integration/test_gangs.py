"""Two gangs that each get a part of a quota: one runs, and then the other."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.apiserver.api import Api, ApiServerUnderTest, Object, condition
from tests.support.builders import make_job
from tests.support.processes.operator import OperatorProcess

NODES = 3
HOLD_S = "4"


@pytest.fixture
def operator(
    api_server: ApiServerUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    with OperatorProcess(
        api_server.operator_kubeconfig,
        tmp_path_factory.mktemp("operator") / "operator.log",
        TRAININGJOB_RESTART__PARTIAL_HOLD=HOLD_S,
    ) as process:
        process.wait_until_ready()
        yield process


async def set_quota(api: Api, pods: int) -> None:
    path = f"/api/v1/namespaces/{api.namespace}/resourcequotas"
    await api.client.patch(f"{path}/tight", {"spec": {"hard": {"pods": str(pods)}}})
    async with asyncio.timeout(90):
        while (await api.client.get(f"{path}/tight")).get("status", {}).get("hard") != {
            "pods": str(pods)
        }:
            await asyncio.sleep(0.05)


async def first_to_be_whole(api: Api, *jobs: str) -> tuple[str, list[Object]]:
    async with asyncio.timeout(90):
        while True:
            for job in jobs:
                pods = [p for p in await api.pods(job) if "deletionTimestamp" not in p["metadata"]]
                if len(pods) == NODES:
                    return job, pods
            await asyncio.sleep(0.05)


async def run_to_its_end(api: Api, job: str, pods: list[Object]) -> None:
    for pod in pods:
        await api.start_pod(pod)
    for pod in pods:
        await api.finish_pod(pod)
    status = await api.wait_for_phase(job, "Succeeded")
    assert (status["restarts"], status["disruptions"]) == (0, 0)


async def test_of_two_partly_created_gangs_one_deletes_its_pods_and_both_finish(
    operator: OperatorProcess, api: Api
) -> None:
    path = f"/api/v1/namespaces/{api.namespace}/resourcequotas"
    quota = {"metadata": {"name": "tight"}, "spec": {"hard": {"pods": "1"}}}
    await api.client.create(path, quota)
    for number, job in enumerate(("first", "second"), start=1):
        await set_quota(api, number)
        await api.apply(make_job(job, nodes=NODES))
        await api.wait_for_pods(job, 1)
        await api.wait_for_job(
            job, lambda s: condition(s, "PodsReady").get("reason") == "QuotaExceeded"
        )
    await set_quota(api, NODES)

    winner, pods = await first_to_be_whole(api, "first", "second")

    await run_to_its_end(api, winner, pods)
    other = "second" if winner == "first" else "first"
    # A changed job is retried at once, not after the minute of back-off.
    await api.patch_job(other, {"spec": {"ttlSecondsAfterFinished": 3600}})
    _, pods = await first_to_be_whole(api, other)
    await run_to_its_end(api, other, pods)
    attempts = [(await api.job(job))["status"]["attempt"] for job in ("first", "second")]
    assert max(attempts) >= 1
