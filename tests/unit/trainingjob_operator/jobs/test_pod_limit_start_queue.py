"""Jobs that would exceed the limit of pods wait in a queue before they start, and their status says so."""

import asyncio
from typing import Any

import pytest

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.reconcile_passes import (
    OUTAGE,
    conditions,
    new_cluster,
    running_operator,
)
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import in_simulated_time
from trainingjob_api.constants import LABEL_JOB_NAME
from trainingjob_api.errors import UnavailableError
from trainingjob_operator.core.job import JobKey

QUEUED = ("False", "Queued")


def started(cluster: FakeCluster) -> dict[str, int]:
    """The number of pods of each job."""
    found: dict[str, int] = {}
    for pod in cluster.pods():
        name = pod["metadata"]["labels"][LABEL_JOB_NAME]
        found[name] = found.get(name, 0) + 1
    return found


async def apply(cluster: FakeCluster, *jobs: tuple[str, int], namespace: str = "ml") -> None:
    """Users apply jobs of so many ranks, one after the other."""
    for name, nodes in jobs:
        cluster.create_job(make_job(name, nodes=nodes, namespace=namespace))
        await asyncio.sleep(2)


def runs(cluster: FakeCluster, **settings: Any) -> Any:
    """An operator, and nodes on which pods run until somebody ends them."""
    return running_operator(cluster, lambda attempt, rank: None, **settings)


@in_simulated_time
async def test_a_job_whose_ranks_would_exceed_the_limit_waits_and_its_status_says_so() -> None:
    cluster = new_cluster()
    async with runs(cluster, max_pods=5) as life:
        await apply(cluster, ("first", 3), ("second", 3))
        assert started(cluster) == {"first": 3}
        assert conditions(cluster, "second")["PodsReady"] == QUEUED
        said = next(c for c in cluster.status("second")["conditions"] if c["type"] == "PodsReady")
        assert "limit of 5 pods" in said["message"]
        assert cluster.status("second")["phase"] == "Pending"
        assert (life.index.pod_limit.used, len(life.index.pod_limit.waiting)) == (3, 1)


@in_simulated_time
async def test_it_starts_as_soon_as_its_pods_fit() -> None:
    cluster = new_cluster()
    async with runs(cluster, max_pods=5):
        await apply(cluster, ("first", 3), ("second", 3))
        for pod in cluster.pods():
            cluster.finish_pod(pod)
        await asyncio.sleep(10)
        assert started(cluster)["second"] == 3
        assert cluster.status("second")["phase"] == "Running", "long before it asks by itself"


@in_simulated_time
async def test_a_large_job_is_not_passed_by_small_ones_of_its_namespace() -> None:
    cluster = new_cluster()
    async with runs(cluster, max_pods=5):
        await apply(cluster, ("first", 3), ("large", 5), ("small", 1), ("smaller", 1))
        assert started(cluster) == {"first": 3}
        cluster.delete_job("first")
        await asyncio.sleep(10)
        assert started(cluster) == {"large": 5}
        cluster.delete_job("large")
        await asyncio.sleep(10)
        assert started(cluster) == {"small": 1, "smaller": 1}


@in_simulated_time
async def test_the_namespace_with_the_fewest_pods_starts_first() -> None:
    cluster = new_cluster()
    async with runs(cluster, max_pods=4):
        await apply(cluster, ("a", 2), ("b", 2), ("c", 2), ("d", 2))
        await apply(cluster, ("modest", 2), namespace="ops")
        cluster.delete_job("a")
        await asyncio.sleep(10)
        assert started(cluster) == {"b": 2, "modest": 2}


@in_simulated_time
async def test_small_jobs_of_modest_namespaces_do_not_pass_a_large_one_for_ever() -> None:
    cluster = new_cluster()
    async with runs(cluster, max_pods=10):
        await apply(cluster, ("running", 4), ("large", 8))
        for number in range(30):
            name = f"small-{number}"
            cluster.create_job(make_job(name, nodes=3, namespace="ops"))
            await asyncio.sleep(5)
            if number == 1:
                cluster.delete_job("running")
            if "large" in started(cluster):
                break
            if number:
                cluster.delete_job(f"small-{number - 1}", "ops")
        assert started(cluster)["large"] == 8
        assert number < 10


@in_simulated_time
@pytest.mark.parametrize("how", ["suspend", "shutdown", "delete"])
async def test_a_queued_job_that_is_not_to_run_any_more_blocks_no_other(how: str) -> None:
    cluster = new_cluster()
    edits: dict[str, dict[str, Any]] = {
        "suspend": {"suspend": True},
        "shutdown": {"shutdown": "Stop"},
    }
    async with runs(cluster, max_pods=5):
        await apply(cluster, ("first", 3), ("large", 5), ("small", 1))
        assert started(cluster) == {"first": 3}
        if how == "delete":
            cluster.delete_job("large")
        else:
            cluster.edit_job("large", **edits[how])
        await asyncio.sleep(10)
        assert started(cluster) == {"first": 3, "small": 1}


@in_simulated_time
async def test_a_job_that_cannot_start_at_its_turn_lets_the_next_one_start() -> None:
    cluster = new_cluster()
    async with runs(cluster, max_pods=5):
        await apply(cluster, ("first", 3), ("broken", 5), ("small", 1))
        get_job = cluster.get_job

        async def fail(key: JobKey) -> Any:
            if key.name == "broken":
                raise OUTAGE
            return await get_job(key)

        cluster.get_job = fail  # type: ignore[method-assign]
        for pod in cluster.pods():
            cluster.finish_pod(pod)
        await asyncio.sleep(700)
        assert "small" in started(cluster)


@in_simulated_time
async def test_a_job_whose_pods_are_refused_keeps_no_reservation() -> None:
    cluster = new_cluster()
    cluster.pod_quota = 1
    async with runs(cluster, max_pods=5) as life:
        await apply(cluster, ("refused", 5))
        assert conditions(cluster, "refused")["PodsReady"] == ("False", "QuotaExceeded")
        assert life.index.pod_limit.used == 1
        cluster.pod_quota = 100
        await apply(cluster, ("small", 4))
        assert started(cluster) == {"refused": 1, "small": 4}
        cluster.delete_job("small")
        await asyncio.sleep(400)
        assert started(cluster) == {"refused": 5}


@in_simulated_time
async def test_a_restart_keeps_its_reservation() -> None:
    cluster = new_cluster()
    async with runs(cluster, max_pods=4):
        await apply(cluster, ("mnist", 3), ("second", 3))
        cluster.finish_pod(cluster.pod(0, 1), exit_code=1)
        await asyncio.sleep(60)
        assert cluster.status("mnist")["attempt"] == 1
        assert started(cluster) == {"mnist": 3}


@in_simulated_time
async def test_a_job_that_is_larger_than_the_limit_runs_alone() -> None:
    cluster = new_cluster()
    async with runs(cluster, max_pods=4):
        await apply(cluster, ("small", 1), ("huge", 6))
        assert conditions(cluster, "huge")["PodsReady"] == QUEUED
        cluster.delete_job("small")
        await asyncio.sleep(400)
        assert started(cluster) == {"huge": 6}


@in_simulated_time
async def test_after_a_restart_with_more_pods_than_the_limit_all_are_followed_and_none_starts() -> (
    None
):
    cluster = new_cluster()
    async with runs(cluster, max_pods=6):
        await apply(cluster, ("a", 3), ("mnist", 3), ("new", 1))
    async with runs(cluster, max_pods=4) as life:
        await asyncio.sleep(400)
        assert started(cluster) == {"a": 3, "mnist": 3}
        assert conditions(cluster, "new")["PodsReady"] == QUEUED
        assert life.index.pod_limit.used == sum(len(entry.pods) for entry in life.index) == 6
        for index in range(3):
            cluster.finish_pod(cluster.pod(0, index))
        await asyncio.sleep(10)
        assert cluster.status("mnist")["phase"] == "Succeeded"
        assert "new" in started(cluster)


@in_simulated_time
async def test_a_start_that_a_crash_interrupts_keeps_its_reservation() -> None:
    cluster = new_cluster()
    cluster.create_job(make_job("mnist", nodes=4))
    async with runs(cluster, max_pods=4):
        await asyncio.sleep(1)
    for index in (2, 3):  # as if it had not come to them
        cluster.lose_pod(cluster.pod(0, index))
    cluster.set_job_status(JobKey("ml", "mnist"), {})
    life = SimulatedOperator(cluster, max_pods=4)
    cluster.create_job(make_job("another", nodes=1))
    await life.resync.resync_until_done()
    assert life.index.pod_limit.used == 4
    assert await life.reconciler.reconcile(JobKey("ml", "another")) is not None
    assert started(cluster) == {"mnist": 2}
    await life.reconciler.reconcile(JobKey("ml", "mnist"))
    assert started(cluster) == {"mnist": 4}


@in_simulated_time
async def test_jobs_that_wait_to_start_and_say_so_cost_no_requests_but_the_resyncs_lists() -> None:
    cluster = new_cluster()
    async with runs(cluster, max_pods=3, interval_s=60.0):
        await apply(cluster, ("first", 3), *((f"job-{number}", 3) for number in range(10)))
        await asyncio.sleep(30)
        cluster.calls.clear()
        await asyncio.sleep(1000)
    assert {call.method for call in cluster.calls} == {"list_jobs", "list_pods", "list_policies"}


@in_simulated_time
async def test_an_outage_in_the_middle_of_a_start_keeps_its_reservation() -> None:
    cluster = new_cluster()
    async with runs(cluster, max_pods=4) as life:
        cluster.create_job(make_job("mnist", nodes=4))
        cluster.before["create_pod"] = lambda: (
            cluster.fail_next("create_pod", UnavailableError("503"), times=20)
            if len(cluster.pods()) == 2
            else None
        )
        await asyncio.sleep(0.5)
        cluster.create_job(make_job("another", nodes=1))
        await asyncio.sleep(0.5)
        assert life.index.pod_limit.used == 4
        await asyncio.sleep(600)
        assert started(cluster) == {"mnist": 4}
