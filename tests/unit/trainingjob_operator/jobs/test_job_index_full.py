"""The index is bounded: jobs without a free entry wait, the oldest first, and their status says so."""

import asyncio

from tests.support.builders import make_job
from tests.support.cluster.reconcile_passes import (
    called_methods,
    conditions,
    deliver_watch_events,
    new_cluster,
    running_operator,
)
from tests.support.cluster.simulated_time import in_simulated_time


@in_simulated_time
async def test_the_status_of_a_job_for_which_the_index_has_no_room_says_that_it_waits() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, lambda attempt, rank: None, max_jobs=1) as life:
        cluster.create_job(make_job("first"))
        await asyncio.sleep(5)
        cluster.create_job(make_job("second"))
        await asyncio.sleep(5)
        assert len(life.index) == 1
    assert conditions(cluster, "second")["PodsReady"] == ("False", "Queued")
    assert [pod["metadata"]["name"].split("-")[0] for pod in cluster.pods()] == ["first"]


@in_simulated_time
async def test_a_waiting_job_is_admitted_as_soon_as_a_job_has_finished() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, max_jobs=1):
        for name in ("first", "second"):
            cluster.create_job(make_job(name))
        await asyncio.sleep(30)
    assert cluster.status("second")["phase"] == "Succeeded", "long before a resync"


@in_simulated_time
async def test_of_the_waiting_jobs_the_oldest_is_admitted_first() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, lambda attempt, rank: None, max_jobs=1):
        for name in ("running", "z-older", "a-newer"):
            cluster.create_job(make_job(name))
            await asyncio.sleep(2)
        cluster.edit_job("a-newer", backoffLimit=1)
        cluster.delete_job("running")
        await asyncio.sleep(5)
    assert cluster.status("z-older")["phase"] == "Running"
    assert conditions(cluster, "a-newer")["PodsReady"] == ("False", "Queued")


@in_simulated_time
async def test_a_new_job_does_not_overtake_the_queue_when_an_entry_becomes_free() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, lambda attempt, rank: None, max_jobs=1):
        for name in ("running", "waiting"):
            cluster.create_job(make_job(name))
            await asyncio.sleep(2)
        cluster.delete_job("running")
        cluster.create_job(make_job("latecomer"))
        await asyncio.sleep(5)
    assert cluster.status("waiting")["phase"] == "Running"
    assert conditions(cluster, "latecomer")["PodsReady"] == ("False", "Queued")


@in_simulated_time
async def test_a_job_that_is_deleted_while_it_waits_blocks_no_other() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, lambda attempt, rank: None, max_jobs=1) as life:
        for name in ("running", "told", "untold", "last"):
            cluster.create_job(make_job(name))
            await asyncio.sleep(2)
        cluster.delete_job("told")
        await deliver_watch_events()
        cluster.job_watch.hold()
        cluster.delete_job("untold")
        cluster.job_watch.drop()
        cluster.job_watch.release()
        cluster.delete_job("running")
        await asyncio.sleep(5)
        assert len(life.index.waiting) == 0
    assert cluster.status("last")["phase"] == "Running"


@in_simulated_time
async def test_jobs_that_wait_and_say_so_cost_no_requests_but_the_resyncs_lists() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, lambda attempt, rank: None, max_jobs=1, interval_s=60.0):
        for number in range(20):
            cluster.create_job(make_job(f"job-{number}"))
        await asyncio.sleep(30)
        cluster.calls.clear()
        await asyncio.sleep(600)
    assert set(called_methods(cluster)) == {"list_jobs", "list_pods", "list_policies"}


@in_simulated_time
async def test_a_free_entry_goes_to_the_namespace_with_the_fewest_live_jobs() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, lambda attempt, rank: None, max_jobs=3):
        for number in range(8):
            cluster.create_job(make_job(f"greedy-{number}", namespace="ml"))
            await asyncio.sleep(1)
        cluster.create_job(make_job("modest", namespace="ops"))
        await asyncio.sleep(5)
        cluster.delete_job("greedy-0")
        await asyncio.sleep(5)
    jobs = {job["metadata"]["name"]: job for job in cluster.jobs()}
    assert jobs["modest"]["status"]["phase"] == "Running"
    assert conditions(cluster, "greedy-3")["PodsReady"] == ("False", "Queued")


@in_simulated_time
async def test_a_waiting_job_that_becomes_forbidden_to_read_blocks_no_other() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, lambda attempt, rank: None, max_jobs=1):
        cluster.create_job(make_job("running"))
        await asyncio.sleep(2)
        cluster.create_job(make_job("unreadable", namespace="ops"))
        await asyncio.sleep(2)
        cluster.create_job(make_job("last"))
        await asyncio.sleep(2)
        cluster.forbidden.add(("get_job", "unreadable"))  # as when its Role has gone
        cluster.delete_job("running")
        await asyncio.sleep(120)
    assert cluster.status("last")["phase"] == "Running"
