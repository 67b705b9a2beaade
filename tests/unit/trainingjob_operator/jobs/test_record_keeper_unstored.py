"""Rejected records, and jobs that are deleted before their record is stored."""

import asyncio
import json

import pytest

from tests.support.builders import make_job
from tests.support.cluster.jobs_with_records import (
    DAY_S,
    DOWN,
    finalizers,
    is_gone,
    new_cluster_and_endpoint,
    persisted,
    running_operator,
)
from tests.support.cluster.simulated_time import in_simulated_time
from trainingjob_api.constants import ANNOTATION_DISCARD_RECORD, FINALIZER_RECORD
from trainingjob_api.errors import (
    RecordConflictError,
    RecordRejectedError,
)
from trainingjob_operator.core.observe_job import job_view

# --- one record is not taken ----------------------------------------------------------------------


@pytest.mark.long
@in_simulated_time
async def test_the_status_of_a_rejected_record_has_the_reason_and_others_are_stored() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    endpoint.down = RecordRejectedError("HTTP 422: name is too long")
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job("odd"))
        await asyncio.sleep(30)
        assert cluster.status("odd")["recordState"] == "Rejected"
        assert persisted(cluster, "odd") == ("False", "Rejected")
        assert FINALIZER_RECORD in finalizers(cluster, "odd")
        endpoint.down = None
        cluster.create_job(make_job("even"))
        await asyncio.sleep(30)
        assert cluster.status("even")["recordState"] == "Stored"
        tries = endpoint.tries
        await asyncio.sleep(DAY_S / 2)
        assert endpoint.tries == tries, "it is not offered again before the day is over"
        await asyncio.sleep(DAY_S)
    assert cluster.status("odd")["recordState"] == "Stored"
    assert finalizers(cluster, "odd") == []


@in_simulated_time
async def test_a_rejected_record_is_offered_again_by_the_next_process() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    endpoint.down = RecordRejectedError("HTTP 413")
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(30)
    endpoint.down = None
    async with running_operator(cluster, endpoint):
        await asyncio.sleep(30)
    assert cluster.status()["recordState"] == "Stored"


@in_simulated_time
async def test_a_receiver_that_knows_another_first_revision_is_given_a_second_one() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    async with running_operator(cluster, endpoint):
        job = cluster.create_job(make_job())
        endpoint.rows[job["metadata"]["uid"]] = {
            "uid": job["metadata"]["uid"],
            "name": "mnist",
            "revision": 1,
            "phase": "Failed",
        }
        await asyncio.sleep(30)
    assert (endpoint.row()["revision"], endpoint.row()["phase"]) == (2, "Succeeded")
    assert cluster.status()["recordRevision"] == 2
    assert cluster.status()["recordState"] == "Stored"


@in_simulated_time
async def test_a_receiver_that_answers_with_nothing_but_conflicts_has_rejected_the_record() -> (
    None
):
    cluster, endpoint = new_cluster_and_endpoint()
    endpoint.down = RecordConflictError("HTTP 409: no")
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(600)
    assert cluster.status()["recordState"] == "Rejected"
    assert endpoint.tries <= 4


@in_simulated_time
async def test_a_record_that_an_uninstall_left_in_status_is_claimed_again_and_stored() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    endpoint.down = DOWN
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(30)
        assert cluster.status()["recordState"] == "Pending"
    await cluster.set_record_finalizer(job_view(cluster.job("mnist")), present=False)
    assert finalizers(cluster) == []
    async with running_operator(cluster, endpoint):
        await asyncio.sleep(30)
        assert finalizers(cluster) == [FINALIZER_RECORD]
        assert persisted(cluster)[0] == "False"
        cluster.delete_job()
        await asyncio.sleep(30)
        assert not is_gone(cluster), "it waits for its record as any other"
        endpoint.down = None
        await asyncio.sleep(100)
    assert is_gone(cluster)
    assert endpoint.row()["phase"] == "Succeeded"


# --- the job is deleted ---------------------------------------------------------------------------


@in_simulated_time
async def test_a_job_that_is_deleted_while_it_runs_leaves_a_record_of_that() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    async with running_operator(cluster, endpoint, exit_code=None):
        cluster.create_job(make_job(nodes=2))
        await asyncio.sleep(10)
        cluster.delete_job()
        await asyncio.sleep(60)
    assert is_gone(cluster)
    assert cluster.pods() == []
    assert (endpoint.row()["phase"], endpoint.row()["reason"]) == ("Cancelled", "Deleted")


@in_simulated_time
async def test_a_job_that_is_deleted_before_its_first_pod_is_let_go_without_a_record() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    cluster.pod_quota = 0
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(5)
        assert FINALIZER_RECORD in finalizers(cluster)
        cluster.delete_job()
        await asyncio.sleep(5)
    assert is_gone(cluster)
    assert endpoint.rows == {}


@in_simulated_time
async def test_a_deletion_waits_for_the_endpoint() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    endpoint.down = DOWN
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(30)
        cluster.delete_job()
        await asyncio.sleep(3600)
        assert not is_gone(cluster)
        endpoint.down = None
        await asyncio.sleep(60)
    assert is_gone(cluster)
    assert endpoint.row()["phase"] == "Succeeded"


@in_simulated_time
async def test_a_deletion_is_honoured_after_a_day_loudly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    endpoint.down = DOWN
    async with running_operator(cluster, endpoint):
        job = cluster.create_job(make_job())
        await asyncio.sleep(30)
        cluster.delete_job()
        await asyncio.sleep(DAY_S - 10)
        assert not is_gone(cluster)
        await asyncio.sleep(3700)
        assert is_gone(cluster)
        assert "RecordAbandoned" in cluster.reasons()
    [line] = [each.message for each in caplog.records if "without a stored record" in each.message]
    record = json.loads(line[line.index("{") :])
    assert (record["uid"], record["phase"]) == (job["metadata"]["uid"], "Succeeded")
    assert record["spec"]["template"], "it is the record, and not an extract"


@in_simulated_time
async def test_a_deleted_job_with_a_rejected_record_is_released_at_once_and_reported() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    endpoint.down = RecordRejectedError("HTTP 422")
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(30)
        cluster.delete_job()
        await asyncio.sleep(5)
        assert is_gone(cluster)
        assert "RecordAbandoned" in cluster.reasons()


@in_simulated_time
async def test_a_job_whose_user_gives_the_record_up_is_released() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    endpoint.down = DOWN
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(30)
        cluster.annotate_job(**{ANNOTATION_DISCARD_RECORD: "true"})
        await asyncio.sleep(5)
    assert persisted(cluster) == ("False", "Discarded")
    assert cluster.status()["recordState"] == "NotRequired"
    assert finalizers(cluster) == []
