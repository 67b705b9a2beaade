"""The clock of an attempt: `preRunningDeadlineSeconds` counts only the time that the job could use."""

import asyncio

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.reconcile_passes import conditions, new_cluster
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import in_simulated_time

GRACE_S = 600


async def drain(cluster: FakeCluster, attempt: int) -> None:
    """The node of the only rank is drained; the pod ends at once."""
    cluster.run_pod(cluster.pod(attempt))
    await asyncio.sleep(2)
    cluster.evict_pod(cluster.pod(attempt))
    await asyncio.sleep(0.1)


@in_simulated_time
async def test_drains_in_a_row_burn_no_try_however_long_the_wait_before_a_restart_is() -> None:
    cluster = new_cluster()
    async with SimulatedOperator(cluster):
        cluster.create_job(make_job(preRunningDeadlineSeconds=5, backoffLimit=0))
        await asyncio.sleep(1)
        for attempt in range(6):
            await drain(cluster, attempt)
            cluster.reap()
            await asyncio.sleep(2**attempt + 1)
        status = cluster.status()
    assert (status["attempt"], status["restarts"], status["disruptions"]) == (6, 0, 6)
    assert "Failed" not in conditions(cluster)


@in_simulated_time
async def test_a_rank_that_writes_its_checkpoint_as_it_is_drained_burns_no_try() -> None:
    cluster = new_cluster()
    async with SimulatedOperator(cluster):
        cluster.create_job(make_job(nodes=2, preRunningDeadlineSeconds=60, backoffLimit=0))
        await asyncio.sleep(1)
        for pod in cluster.pods():
            cluster.run_pod(pod)
        await asyncio.sleep(2)
        cluster.delete_pod_as_user(cluster.pod(0, 0))
        await asyncio.sleep(GRACE_S)
        assert cluster.status()["attempt"] == 1
        assert "attemptStartTime" not in cluster.status()
        cluster.reap()
        await asyncio.sleep(2)
        status = cluster.status()
    assert (status["launchedAttempt"], status["restarts"], status["disruptions"]) == (1, 0, 1)
    assert "Failed" not in conditions(cluster)


@in_simulated_time
async def test_the_clock_goes_on_where_it_was_when_the_operator_starts_again() -> None:
    cluster = new_cluster()
    cluster.create_job(make_job(preRunningDeadlineSeconds=60, backoffLimit=0))
    async with SimulatedOperator(cluster):
        await asyncio.sleep(40)
    async with SimulatedOperator(cluster):
        await asyncio.sleep(10)
        assert "Failed" not in conditions(cluster)
        await asyncio.sleep(11)
    assert conditions(cluster)["Failed"] == ("True", "PreRunningDeadlineExceeded")
