"""No record is lost: the records of jobs in normal operation."""

import asyncio
from collections import Counter

from tests.support.builders import make_job
from tests.support.cluster.jobs_with_records import (
    finalizers,
    new_cluster_and_endpoint,
    persisted,
    run_pods_at_once,
    running_operator,
)
from tests.support.cluster.simulated_time import in_simulated_time
from trainingjob_api.constants import FINALIZER_RECORD
from trainingjob_api.errors import (
    ConflictError,
)


@in_simulated_time
async def test_a_finished_job_leaves_a_record_and_is_let_go() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(30)
    row = endpoint.row()
    status = cluster.status()
    assert (status["recordState"], status["recordRevision"]) == ("Stored", 1)
    assert persisted(cluster) == ("True", "Stored")
    assert finalizers(cluster) == []
    assert (row["phase"], row["reason"], row["exitCode"]) == ("Succeeded", "CompletionsReached", 0)
    assert row["completedAt"] == status["completionTime"]
    assert row["uid"] == cluster.job()["metadata"]["uid"]


@in_simulated_time
async def test_a_prompt_endpoint_costs_a_job_of_one_pod_five_requests() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    async with running_operator(cluster, endpoint):
        await asyncio.sleep(1)
        cluster.calls.clear()
        await run_pods_at_once(cluster)
    assert [call.method for call in cluster.calls] == [
        "set_record_finalizer",
        "create_pod",
        "patch_job_status",
        "put_record",
        "patch_job_status",
        "set_record_finalizer",
    ]


@in_simulated_time
async def test_a_slow_endpoint_costs_a_job_of_one_pod_six_requests() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    endpoint.delay_s = 1.0
    async with running_operator(cluster, endpoint):
        await asyncio.sleep(1)
        cluster.calls.clear()
        await run_pods_at_once(cluster)
    counted = Counter(call.method for call in cluster.calls)
    assert counted.pop("put_record") == 2  # at once, and then in earnest
    assert counted == {"set_record_finalizer": 2, "create_pod": 1, "patch_job_status": 3}
    assert cluster.status()["recordState"] == "Stored"


@in_simulated_time
async def test_a_failed_job_leaves_a_record_too() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    async with running_operator(cluster, endpoint, exit_code=3):
        cluster.create_job(make_job(backoff_limit=0))
        await asyncio.sleep(30)
    assert endpoint.row()["phase"] == "Failed"
    assert endpoint.row()["exitCode"] == 3
    assert finalizers(cluster) == []


# --- recording is switched on and off -------------------------------------------------------------


@in_simulated_time
async def test_without_an_endpoint_nothing_is_claimed_and_nothing_owed() -> None:
    cluster, _ = new_cluster_and_endpoint()
    async with running_operator(cluster, None):
        cluster.create_job(make_job())
        await asyncio.sleep(30)
    assert cluster.status()["recordState"] == "NotRequired"
    assert persisted(cluster) == ("False", "NotRequired")
    assert finalizers(cluster) == []


@in_simulated_time
async def test_jobs_that_run_when_recording_is_switched_on_leave_a_record() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    async with running_operator(cluster, None, exit_code=None):
        cluster.create_job(make_job())
        await asyncio.sleep(10)
    async with running_operator(cluster, endpoint, exit_code=0):
        await asyncio.sleep(30)
    assert endpoint.row()["phase"] == "Succeeded"


@in_simulated_time
async def test_what_is_owed_is_owed_after_recording_is_switched_off() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    async with running_operator(cluster, endpoint, exit_code=None):
        cluster.create_job(make_job())
        await asyncio.sleep(10)
    async with running_operator(cluster, None, exit_code=0):
        await asyncio.sleep(30)
        assert cluster.status()["recordState"] == "Pending"
        assert FINALIZER_RECORD in finalizers(cluster)
    async with running_operator(cluster, endpoint):
        await asyncio.sleep(30)
    assert cluster.status()["recordState"] == "Stored"


@in_simulated_time
async def test_a_delivery_survives_a_conflict() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    endpoint.delay_s = 1.0
    conflict = ConflictError("has been modified", status=409)
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(3.2)
        cluster.fail_next("patch_job_status", conflict)
        await asyncio.sleep(30)
    assert cluster.status()["recordState"] == "Stored"
    assert len(endpoint.writes) <= 2
