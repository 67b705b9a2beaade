"""Suspended jobs that are settled need no place in memory, and none of them is forgotten for that.

In most of these the index is full of live jobs, so that what it does not hold stays outside.
"""

import asyncio
from typing import Any

import pytest

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.memory_log_store import MemoryLogStore
from tests.support.cluster.reconcile_passes import (
    OUTAGE,
    called_methods,
    conditions,
    new_cluster,
    running_operator,
)
from tests.support.cluster.simulated_time import in_simulated_time
from tests.support.records.endpoint import FakeEndpoint
from trainingjob_api.constants import FINALIZER_RECORD
from trainingjob_api.validation import parse_spec
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.core.manifests import pod_manifest
from trainingjob_operator.core.observe_job import job_view

SUSPENDED = ("True", "Suspended")
PARKED = [f"parked-{number}" for number in range(20)]
LISTS = {"list_jobs", "list_pods", "list_policies"}


def forever(attempt: int, rank: int) -> None:
    """Ranks that run until somebody ends them."""


def park(cluster: FakeCluster, *names: str) -> None:
    for name in names:
        cluster.create_job(make_job(name, suspend=True))


def phase_in(cluster: FakeCluster, name: str, namespace: str) -> str:
    phase: str = cluster.job(name, namespace)["status"]["phase"]
    return phase


def pods_of(cluster: FakeCluster, name: str) -> list[dict[str, Any]]:
    label = "trainingjob.dev/job-name"
    return [pod for pod in cluster.pods() if pod["metadata"]["labels"][label] == name]


@in_simulated_time
async def test_any_number_of_suspended_jobs_leaves_room_in_the_index_for_others() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, forever, max_jobs=3) as life:
        park(cluster, *PARKED)
        await asyncio.sleep(5)
        for number in range(3):
            cluster.create_job(make_job(f"live-{number}", namespace="ops"))
        await asyncio.sleep(5)
        assert len(life.index.waiting) == 0
    assert {conditions(cluster, name)["Suspended"] for name in PARKED} == {SUSPENDED}
    assert {phase_in(cluster, f"live-{n}", "ops") for n in range(3)} == {"Running"}


@in_simulated_time
async def test_after_a_restart_suspended_jobs_take_no_entry_and_a_resume_is_seen() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, max_jobs=3):
        park(cluster, *PARKED)
        await asyncio.sleep(5)
    cluster.calls.clear()
    async with running_operator(cluster, max_jobs=3) as life:
        await asyncio.sleep(5)
        assert len(life.index) == 0
        assert set(called_methods(cluster)) == LISTS, "nor requests of their own"
        cluster.edit_job("parked-7", suspend=False)
        await asyncio.sleep(10)
    assert cluster.status("parked-7")["phase"] == "Succeeded"
    assert cluster.status("parked-8")["phase"] == "Suspended"


@in_simulated_time
async def test_a_job_that_was_resumed_without_a_watch_event_runs_after_the_next_list() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, max_jobs=3):
        park(cluster, *PARKED)
        await asyncio.sleep(5)
    cluster.edit_job("parked-3", suspend=False)
    async with running_operator(cluster, max_jobs=3, interval_s=60.0):
        await asyncio.sleep(10)
        assert cluster.status("parked-3")["phase"] == "Succeeded"
        cluster.job_watch.hold()
        cluster.edit_job("parked-4", suspend=False)
        cluster.job_watch.drop()
        cluster.job_watch.release()
        await asyncio.sleep(70)
    assert cluster.status("parked-4")["phase"] == "Succeeded"


@in_simulated_time
async def test_a_job_that_ran_and_was_suspended_and_left_memory_is_resumed_as_a_new_attempt() -> (
    None
):
    cluster = new_cluster()
    async with running_operator(cluster, forever, max_jobs=1) as life:
        cluster.create_job(make_job("ran", nodes=2))
        await asyncio.sleep(5)
        cluster.edit_job("ran", suspend=True)
        await asyncio.sleep(5)
        assert pods_of(cluster, "ran") == []
        cluster.create_job(make_job("next"))
        await asyncio.sleep(5)
        assert [entry.job.key.name for entry in life.index] == ["next"]
        cluster.delete_job("next")
        cluster.edit_job("ran", suspend=False)
        await asyncio.sleep(5)
    status = cluster.status("ran")
    assert (status["phase"], status["attempt"], status["restarts"]) == ("Running", 1, 0)
    assert len(pods_of(cluster, "ran")) == 2


@in_simulated_time
async def test_a_resumed_job_without_a_free_entry_waits_and_its_status_says_so() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, forever, max_jobs=1):
        park(cluster, "parked")
        await asyncio.sleep(5)
        cluster.create_job(make_job("live"))
        await asyncio.sleep(5)
        cluster.edit_job("parked", suspend=False)
        await asyncio.sleep(5)
        assert conditions(cluster, "parked")["PodsReady"] == ("False", "Queued")
        cluster.delete_job("live")
        await asyncio.sleep(5)
    assert cluster.status("parked")["phase"] == "Running"


@in_simulated_time
@pytest.mark.parametrize("recorded", [False, True], ids=["no record", "a record"])
async def test_what_runs_nothing_is_served_though_the_index_is_full_of_live_jobs(
    recorded: bool,
) -> None:
    cluster = new_cluster()
    endpoint = FakeEndpoint(cluster) if recorded else None
    names = ("edited", "stopped", "deleted")
    async with running_operator(cluster, forever, max_jobs=1, endpoint=endpoint) as life:
        cluster.create_job(make_job("live"))
        await asyncio.sleep(5)
        park(cluster, *names)
        await asyncio.sleep(5)
        assert {cluster.status(name)["phase"] for name in names} == {"Suspended"}
        cluster.edit_job("edited", backoffLimit=7)
        cluster.edit_job("stopped", shutdown="Stop")
        cluster.delete_job("deleted")
        await asyncio.sleep(5)
        assert len(life.index.waiting) == 0
        assert [entry.job.key.name for entry in life.index] == ["live"]
    edited = cluster.job("edited")
    assert edited["status"]["observedGeneration"] == edited["metadata"]["generation"] == 2
    assert cluster.status("stopped")["phase"] == "Cancelled"
    assert "deleted" not in {job["metadata"]["name"] for job in cluster.jobs()}
    owed = {FINALIZER_RECORD} if recorded else set()
    assert set(edited["metadata"].get("finalizers", [])) == owed


@in_simulated_time
async def test_a_job_that_is_suspended_while_it_waits_for_an_entry_leaves_the_queue() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, forever, max_jobs=1) as life:
        for name in ("live", "queued"):
            cluster.create_job(make_job(name))
            await asyncio.sleep(2)
        assert conditions(cluster, "queued")["PodsReady"] == ("False", "Queued")
        cluster.edit_job("queued", suspend=True)
        await asyncio.sleep(5)
        assert len(life.index.waiting) == 0
    assert conditions(cluster, "queued")["Suspended"] == SUSPENDED
    assert conditions(cluster, "queued")["PodsReady"] == ("False", "PodsNotReady")


def turn_up(cluster: FakeCluster, name: str) -> dict[str, Any]:
    """A pod of the job's first attempt, whose creation took until now."""
    job = cluster.job(name)
    manifest = pod_manifest(job_view(job), parse_spec(job["spec"]), 0)
    return cluster.create_foreign("pods", manifest)


@in_simulated_time
async def test_a_pod_that_turns_up_of_a_settled_job_is_taken_down() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, forever, max_jobs=1) as life:
        park(cluster, "parked")
        await asyncio.sleep(5)
        cluster.create_job(make_job("live"))
        await asyncio.sleep(5)
        assert JobKey("ml", "parked") not in life.index
        cluster.delete_job("live")
        await asyncio.sleep(5)
        turn_up(cluster, "parked")
        await asyncio.sleep(10)
    assert pods_of(cluster, "parked") == []
    status = cluster.status("parked")
    assert (status["phase"], status["attempt"]) == ("Suspended", 1)


@in_simulated_time
async def test_the_log_of_a_settled_jobs_pod_at_the_start_is_archived_before_its_deletion() -> (
    None
):
    cluster = new_cluster()
    store = MemoryLogStore(cluster)
    async with running_operator(cluster, forever, store=store):
        cluster.create_job(make_job("parked", suspend=True, nodes=2))
        await asyncio.sleep(5)
    pod = turn_up(cluster, "parked")
    cluster.run_pod(pod)
    cluster.finish_pod(pod, 0)
    async with running_operator(cluster, forever, store=store):
        await asyncio.sleep(10)
    assert pods_of(cluster, "parked") == []
    assert len(store.headers(cluster.job("parked")["metadata"]["uid"])) == 1
    assert conditions(cluster, "parked")["Suspended"] == SUSPENDED


@in_simulated_time
async def test_at_a_start_a_resumed_job_takes_no_entry_from_one_that_runs() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, forever, max_jobs=1):
        cluster.create_job(make_job("parked"))
        await asyncio.sleep(5)
        cluster.edit_job("parked", suspend=True)
        await asyncio.sleep(5)
        cluster.create_job(make_job("runs"))
        await asyncio.sleep(5)
    cluster.edit_job("parked", suspend=False)
    async with running_operator(cluster, forever, max_jobs=1):
        await asyncio.sleep(5)
        assert conditions(cluster, "parked")["PodsReady"] == ("False", "Queued")
        assert cluster.status("runs")["phase"] == "Running"
        cluster.edit_job("runs", suspend=True)
        await asyncio.sleep(10)
    assert cluster.status("parked")["phase"] == "Running"


@in_simulated_time
@pytest.mark.parametrize("ending", ["suspend", "shutdown", "deletion"])
async def test_pods_of_a_job_without_an_entry_are_deleted_when_it_is_not_to_run(
    ending: str,
) -> None:
    cluster = new_cluster()
    endpoint = FakeEndpoint(cluster)
    async with running_operator(cluster, forever, endpoint=endpoint):
        for name in ("live", "unplaced"):
            cluster.create_job(make_job(name, nodes=2))
            await asyncio.sleep(5)
    async with running_operator(
        cluster, forever, max_jobs=1, endpoint=endpoint
    ) as life:  # a lower limit
        await asyncio.sleep(5)
        assert conditions(cluster, "unplaced")["PodsReady"] == ("False", "Queued")
        if ending == "deletion":
            cluster.delete_job("unplaced")
        else:
            cluster.edit_job("unplaced", **{ending: "Stop" if ending == "shutdown" else True})
        await asyncio.sleep(30)
        assert [entry.job.key.name for entry in life.index] == ["live"]
        assert len(life.index.waiting) == 0
    assert pods_of(cluster, "unplaced") == []
    left = {job["metadata"]["name"]: job["status"]["phase"] for job in cluster.jobs()}
    ended = {"suspend": {"unplaced": "Suspended"}, "shutdown": {"unplaced": "Cancelled"}}
    assert left == {"live": "Running"} | ended.get(ending, {})
    assert len(endpoint.rows) == (ending != "suspend")


@in_simulated_time
async def test_settled_jobs_are_claimed_without_entries_when_records_are_switched_on() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, max_jobs=3):
        park(cluster, *PARKED)
        await asyncio.sleep(5)
    async with running_operator(
        cluster, forever, max_jobs=1, endpoint=FakeEndpoint(cluster)
    ) as life:
        cluster.create_job(make_job("live", namespace="ops"))
        await asyncio.sleep(10)
        assert [entry.job.key.name for entry in life.index] == ["live"]
        assert len(life.manifests) <= 1
    owed = {tuple(cluster.job(name)["metadata"].get("finalizers", ())) for name in PARKED}
    assert owed == {(FINALIZER_RECORD,)}


@in_simulated_time
async def test_a_suspended_job_leaves_memory_with_age_and_costs_nothing_from_then_on() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, max_jobs=100, interval_s=600.0) as life:
        park(cluster, *PARKED)
        await asyncio.sleep(5)
        assert len(life.index) == len(PARKED)
        await asyncio.sleep(600)
        assert life.index.evict_finished_before(life.steady.now()) == len(PARKED)
        cluster.calls.clear()
        await asyncio.sleep(1300)
        assert len(life.index) == len(life.queue) == 0
    assert set(called_methods(cluster)) == LISTS


@in_simulated_time
async def test_a_suspension_that_leaves_memory_in_an_outage_is_finished_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = new_cluster()
    async with running_operator(cluster, forever, max_jobs=1):
        cluster.create_job(make_job("live"))
        await asyncio.sleep(5)
        real = cluster.patch_job_status

        async def refuse(key: JobKey, patch: dict[str, Any]) -> dict[str, Any] | None:
            raise OUTAGE

        monkeypatch.setattr(cluster, "patch_job_status", refuse)
        park(cluster, "parked")
        await asyncio.sleep(5)
        monkeypatch.setattr(cluster, "patch_job_status", real)
        await asyncio.sleep(70)
    assert conditions(cluster, "parked")["Suspended"] == SUSPENDED
