"""The number of requests in the life of a job."""

import asyncio
from collections import Counter

from tests.support.builders import make_job
from tests.support.cluster.reconcile_passes import (
    called_methods,
    conditions,
    deliver_watch_events,
    manual_operator,
    new_cluster,
    operator_with_running_job,
    reconcile_once,
    reconcile_until_settled,
    running_operator,
)
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import in_simulated_time
from trainingjob_api.constants import ANNOTATION_PROGRESS
from trainingjob_operator.jobs.status_throttle import PROGRESS_EVERY_S


@in_simulated_time
async def test_a_job_of_one_pod_costs_one_creation_and_three_status_writes() -> None:
    cluster = new_cluster()
    async with running_operator(cluster):
        await asyncio.sleep(1)
        cluster.calls.clear()
        cluster.create_job(make_job())
        await asyncio.sleep(100)
    assert called_methods(cluster) == ["create_pod", *["patch_job_status"] * 3]
    assert [e.object["status"]["phase"] for e in cluster.effects[1:]] == [
        "Pending",
        "Running",
        "Succeeded",
    ]


@in_simulated_time
async def test_a_pod_that_is_done_within_a_second_saves_a_write() -> None:
    cluster = new_cluster()
    life = await manual_operator(cluster)
    cluster.create_job(make_job())
    await reconcile_until_settled(life)
    cluster.run_pod(cluster.pod())
    await reconcile_until_settled(life)
    cluster.finish_pod(cluster.pod())
    await reconcile_until_settled(life)
    assert called_methods(cluster) == ["create_pod", "patch_job_status", "patch_job_status"]
    assert conditions(cluster)["Complete"] == ("True", "CompletionsReached")


@in_simulated_time
async def test_that_every_rank_runs_is_written_within_a_second() -> None:
    cluster = new_cluster()
    life = await manual_operator(cluster)
    cluster.create_job(make_job())
    await reconcile_until_settled(life)
    cluster.run_pod(cluster.pod())
    await deliver_watch_events()
    wait = await reconcile_once(life)
    assert wait is not None
    assert 0 < wait <= PROGRESS_EVERY_S
    assert cluster.status()["phase"] == "Pending"
    await asyncio.sleep(wait)
    assert await reconcile_once(life) is None
    assert cluster.status()["phase"] == "Running"


@in_simulated_time
async def test_what_is_in_the_way_of_a_rank_is_written_at_once() -> None:
    cluster = new_cluster()
    life = await manual_operator(cluster)
    cluster.create_job(make_job())
    await reconcile_until_settled(life)
    cluster.refuse_to_schedule(cluster.pod(), "0/3 nodes are available")
    await reconcile_until_settled(life)
    assert conditions(cluster)["PodsReady"] == ("False", "Unschedulable")


@in_simulated_time
async def test_a_job_of_four_ranks_creates_one_service_and_four_pods() -> None:
    cluster = new_cluster()
    async with running_operator(cluster):
        await asyncio.sleep(1)
        cluster.calls.clear()
        cluster.create_job(make_job(nodes=4))
        await asyncio.sleep(100)
    counted = Counter(called_methods(cluster))
    writes = counted.pop("patch_job_status")
    assert counted == {"create_service": 1, "create_pod": 4}
    assert writes <= 4
    assert cluster.status()["completedIndexes"] == "0-3"
    assert cluster.status()["phase"] == "Succeeded"


@in_simulated_time
async def test_a_gang_whose_ranks_start_and_end_one_by_one_costs_three_status_writes() -> None:
    cluster = new_cluster()
    async with SimulatedOperator(cluster):
        await asyncio.sleep(1)
        cluster.calls.clear()
        cluster.create_job(make_job(nodes=8))
        await asyncio.sleep(3)
        for pod in cluster.pods():
            cluster.run_pod(pod)
            await asyncio.sleep(0.4)
        await asyncio.sleep(60)
        for pod in cluster.pods():
            cluster.finish_pod(pod)
            await asyncio.sleep(0.1)
        await asyncio.sleep(5)
    assert Counter(called_methods(cluster)) == {
        "create_service": 1,
        "create_pod": 8,
        "patch_job_status": 3,
    }
    writes = [e.object["status"] for e in cluster.effects if e.method == "patch_job_status"]
    assert [write["phase"] for write in writes] == ["Pending", "Running", "Succeeded"]


@in_simulated_time
async def test_what_a_trainer_says_of_its_steps_costs_no_request_and_stays_as_it_is() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, lambda attempt, rank: None):
        cluster.create_job(make_job(nodes=2))
        await asyncio.sleep(10)
        assert cluster.status()["phase"] == "Running"
        cluster.calls.clear()
        for step in range(200):
            cluster.annotate_job(**{ANNOTATION_PROGRESS: f"{step}/200"})
            await asyncio.sleep(0.1)
        assert cluster.calls == []
        assert cluster.job()["metadata"]["annotations"] == {ANNOTATION_PROGRESS: "199/200"}


@in_simulated_time
async def test_which_ranks_are_done_is_written_within_a_second_while_their_pods_are_there() -> (
    None
):
    cluster = new_cluster()
    life = await operator_with_running_job(cluster, nodes=3)
    cluster.calls.clear()
    cluster.finish_pod(cluster.pod(0, 0))
    await deliver_watch_events()
    wait = await reconcile_once(life)
    assert wait is not None
    assert 0 < wait <= PROGRESS_EVERY_S
    cluster.finish_pod(cluster.pod(0, 1))
    await asyncio.sleep(wait)
    await reconcile_until_settled(life)
    assert called_methods(cluster) == ["patch_job_status"]
    assert cluster.status()["completedIndexes"] == "0-1"


@in_simulated_time
async def test_that_a_rank_is_done_is_written_at_once_when_its_pod_goes() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster)
    cluster.finish_pod(cluster.pod(0, 0))
    await reconcile_until_settled(life)
    assert cluster.status()["completedIndexes"] == ""
    cluster.lose_pod(cluster.pod(0, 0))
    await reconcile_until_settled(life)
    assert cluster.status()["completedIndexes"] == "0"


@in_simulated_time
async def test_that_a_suspended_job_may_be_edited_is_written_at_once() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster)
    cluster.edit_job(suspend=True)
    await reconcile_until_settled(life)
    assert conditions(cluster)["Suspended"][0] == "True"
    cluster.reap()
    await reconcile_until_settled(life)
    status = cluster.status()
    assert (status["active"], status["terminating"]) == (0, 0)


@in_simulated_time
async def test_a_deadline_is_not_put_off_with_the_progress_of_a_start() -> None:
    cluster = new_cluster()
    life = await manual_operator(cluster)
    cluster.create_job(make_job(nodes=2, activeDeadlineSeconds=3))
    await reconcile_until_settled(life)
    await asyncio.sleep(1.5)
    cluster.run_pod(cluster.pod(0, 0))
    await deliver_watch_events()
    wait = await reconcile_once(life)
    assert wait is not None
    assert wait <= 1.5
    await asyncio.sleep(wait)
    await reconcile_until_settled(life)
    assert conditions(cluster)["Failed"] == ("True", "DeadlineExceeded")


@in_simulated_time
async def test_settled_jobs_cost_a_restarted_operator_nothing_but_lists() -> None:
    """One pair before anything is decided, one when the watches are open."""
    cluster = new_cluster()
    async with running_operator(cluster, lambda attempt, rank: None):
        for name in ("a", "b", "c"):
            cluster.create_job(make_job(name, nodes=2))
        await asyncio.sleep(30)
    cluster.calls.clear()
    async with running_operator(cluster, lambda attempt, rank: None):
        await asyncio.sleep(30)
    assert called_methods(cluster) == ["list_policies", *["list_jobs", "list_pods"] * 2]


@in_simulated_time
async def test_many_ranks_that_become_ready_one_by_one_are_a_write_in_five_seconds() -> None:
    cluster = new_cluster()
    async with SimulatedOperator(cluster):
        cluster.create_job(make_job(nodes=50))
        await asyncio.sleep(5)
        cluster.calls.clear()
        for pod in cluster.pods():
            cluster.run_pod(pod)
            await asyncio.sleep(0.2)
        await asyncio.sleep(5)
    assert 2 <= len(cluster.calls) <= 3  # 10 s of pods, and the last of them
    assert set(called_methods(cluster)) == {"patch_job_status"}
    assert cluster.status()["ready"] == 50
