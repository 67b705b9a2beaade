"""Gangs that compete for a quota: one runs after the other, and none waits for ever."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.reconcile_passes import Object, conditions, new_cluster
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import in_simulated_time
from trainingjob_api.constants import LABEL_ATTEMPT, LABEL_JOB_NAME
from trainingjob_api.errors import QuotaExceededError

NODES = 3
TRAINING_S = 30.0
PATIENCE_S = 1800.0


async def node(cluster: FakeCluster) -> None:
    """Run every pod, and end those of a gang when all of them have run for a while.

    Ranks wait for each other at their rendezvous, and ignore what asks them to stop for a while.
    """
    whole_since: dict[tuple[str, str], float] = {}
    deleting_since: dict[str, float] = {}
    while True:
        await asyncio.sleep(0.5)
        now, gangs = cluster.clock.monotonic(), defaultdict[tuple[str, str], list[Object]](list)
        for pod in cluster.pods():
            labels = pod["metadata"]["labels"]
            if "deletionTimestamp" in pod["metadata"]:
                if now - deleting_since.setdefault(pod["metadata"]["uid"], now) > 5:
                    cluster.lose_pod(pod)
            elif pod["status"]["phase"] == "Pending":
                cluster.run_pod(pod)
            elif pod["status"]["phase"] == "Running":
                gangs[labels[LABEL_JOB_NAME], labels[LABEL_ATTEMPT]].append(pod)
        for gang, pods in gangs.items():
            if len(pods) == NODES and now - whole_since.setdefault(gang, now) > TRAINING_S:
                for pod in pods:
                    cluster.finish_pod(pod)


@asynccontextmanager
async def competition(jobs: int, *, quota: int) -> AsyncIterator[FakeCluster]:
    """Jobs each of which has got a part of a quota, before anything of it came to run."""
    cluster = new_cluster()
    cluster.pod_quota = 0
    async with SimulatedOperator(cluster):
        for number in range(jobs):
            cluster.create_job(make_job(f"gang-{number}", nodes=NODES))
        await asyncio.sleep(1)
        create_pod, let_in = cluster.create_pod, defaultdict[str, int](int)
        cluster.pod_quota, share = quota, -(-quota // jobs)

        async def create_a_share(manifest: Object) -> Object:
            """Let no job have more than its share, as if all asked at the same moment."""
            name = manifest["metadata"]["labels"][LABEL_JOB_NAME]
            if let_in[name] == share:
                raise QuotaExceededError("exceeded quota: pods", status=403)
            let_in[name] += 1
            return await create_pod(manifest)

        cluster.create_pod = create_a_share  # type: ignore[method-assign]
        await asyncio.sleep(65)
        cluster.create_pod = create_pod  # type: ignore[method-assign]
        life = asyncio.create_task(node(cluster))
        try:
            yield cluster
        finally:
            life.cancel()
            with suppress(asyncio.CancelledError):
                await life


@pytest.mark.parametrize("jobs", [2, 3])
def test_gangs_that_each_hold_a_part_of_a_quota_run_one_after_the_other(jobs: int) -> None:
    @in_simulated_time
    async def play() -> None:
        names = [f"gang-{number}" for number in range(jobs)]
        async with competition(jobs, quota=NODES) as cluster:
            held = [pod["metadata"]["labels"][LABEL_JOB_NAME] for pod in cluster.pods()]
            assert set(held) == set(names), "each holds a part"
            assert len(held) == NODES
            begun = cluster.clock.monotonic()
            while any(cluster.status(name)["phase"] != "Succeeded" for name in names):
                await asyncio.sleep(1)
                assert cluster.clock.monotonic() - begun < PATIENCE_S, [
                    cluster.status(name) for name in names
                ]
        for name in names:
            status = cluster.status(name)
            assert (status["restarts"], status["disruptions"]) == (0, 0)

    play()


@in_simulated_time
async def test_a_gang_that_gives_back_says_why_and_is_asked_for_seldom() -> None:
    cluster = new_cluster()
    cluster.pod_quota = 2
    async with SimulatedOperator(cluster):
        cluster.create_job(make_job(nodes=3))
        await asyncio.sleep(50)
        assert conditions(cluster)["PodsReady"] == ("False", "QuotaExceeded")
        assert len(cluster.pods()) == 2
        for _ in range(150):
            await asyncio.sleep(1)
            if not cluster.pods():
                break
        status = cluster.status()
        assert conditions(cluster)["Restarting"] == ("True", "PartlyRefused")
        assert conditions(cluster)["PodsReady"][0] == "False"
        restarting = next(c for c in status["conditions"] if c["type"] == "Restarting")
        assert "exceeded quota" in restarting["message"]
        assert "the pods of ranks 0-1 are deleted" in restarting["message"]
        assert (status["attempt"], status["restarts"], status["disruptions"]) == (1, 0, 0)
        await asyncio.sleep(3600)
        attempts = cluster.status()["attempt"]
        assert 3600 / (60 * (3 + 4 * 2.25)) <= attempts <= 3600 / (60 * 1.25)
        cluster.pod_quota = 3
        await asyncio.sleep(60 * (3 + 4 * 2.25))
        assert cluster.status()["launchedAttempt"] == cluster.status()["attempt"]
    assert len(cluster.pods()) == 3


@in_simulated_time
async def test_a_gang_whose_first_rank_is_done_keeps_what_it_has() -> None:
    cluster = new_cluster()
    cluster.pod_quota = 2
    async with SimulatedOperator(cluster):
        cluster.create_job(make_job(nodes=4))
        await asyncio.sleep(1)
        first, second = cluster.pods()
        cluster.run_pod(first)
        cluster.run_pod(second)
        cluster.finish_pod(first)
        cluster.pod_quota = 1
        await asyncio.sleep(600)
    status = cluster.status()
    assert (status["attempt"], status["completedIndexes"]) == (0, "0")


@in_simulated_time
async def test_the_pre_running_deadline_of_a_gang_counts_over_what_it_gave_back() -> None:
    cluster = new_cluster()
    cluster.pod_quota = 1
    async with SimulatedOperator(cluster):
        job = make_job(nodes=2, preRunningDeadlineSeconds=400, backoffLimit=0)
        cluster.create_job(job)
        await asyncio.sleep(300)
        assert cluster.status()["attempt"] >= 1
        assert "Failed" not in conditions(cluster)
        await asyncio.sleep(2000)
    assert conditions(cluster)["Failed"] == ("True", "PreRunningDeadlineExceeded")
    assert cluster.status()["restarts"] == 0
