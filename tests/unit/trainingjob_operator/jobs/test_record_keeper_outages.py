"""No record is lost while the record endpoint is down."""

import asyncio

import pytest

from tests.support.builders import make_job
from tests.support.cluster.jobs_with_records import (
    DOWN,
    finalizers,
    new_cluster_and_endpoint,
    persisted,
    running_operator,
)
from tests.support.cluster.simulated_time import in_simulated_time
from trainingjob_api.constants import ANNOTATION_DISCARD_RECORD, FINALIZER_RECORD
from trainingjob_api.errors import (
    EndpointUnauthorizedError,
    EndpointUnavailableError,
)


@in_simulated_time
async def test_jobs_finish_in_time_while_the_endpoint_is_down_and_are_stored_when_it_is_back() -> (
    None
):
    cluster, endpoint = new_cluster_and_endpoint()
    endpoint.down = DOWN
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(5)
        assert cluster.status()["phase"] == "Succeeded"
        assert cluster.status()["recordState"] == "Pending"
        assert FINALIZER_RECORD in finalizers(cluster)
        await asyncio.sleep(6 * 3600)
        endpoint.down = None
        await asyncio.sleep(60)
    assert cluster.status()["recordState"] == "Stored"
    assert len(endpoint.writes) == 1


@in_simulated_time
async def test_an_endpoint_that_is_down_is_probed_now_and_then_and_not_once_for_every_record() -> (
    None
):
    cluster, endpoint = new_cluster_and_endpoint()
    endpoint.down = DOWN
    async with running_operator(cluster, endpoint):
        for number in range(50):
            cluster.create_job(make_job(f"job-{number}"))
        await asyncio.sleep(120)
        endpoint.tries = 0
        await asyncio.sleep(3600)
        assert 100 <= endpoint.tries <= 130  # one every 30 s


@in_simulated_time
async def test_a_job_that_ends_in_an_outage_says_so_in_its_condition() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    endpoint.down = EndpointUnauthorizedError("HTTP 401")
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job("first"))
        await asyncio.sleep(30)
        cluster.create_job(make_job("second"))
        await asyncio.sleep(30)
    assert persisted(cluster, "first") == ("False", "Pending")
    assert persisted(cluster, "second") == ("False", "Unavailable")


@in_simulated_time
async def test_retry_after_is_honoured() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    endpoint.down = EndpointUnavailableError("HTTP 503", retry_after_s=120.0)
    async with running_operator(cluster, endpoint, exit_code=1):
        cluster.create_job(make_job(backoff_limit=0))
        await asyncio.sleep(10)
        endpoint.down, tries = None, endpoint.tries
        await asyncio.sleep(100)
        assert endpoint.tries == tries
        await asyncio.sleep(60)
    assert cluster.status()["recordState"] == "Stored"


@pytest.mark.long
@in_simulated_time
async def test_five_thousand_records_pass_through_a_cache_of_a_thousand() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    endpoint.down = DOWN
    async with running_operator(cluster, endpoint, max_jobs=6000, retry_cache_size=100) as life:
        assert life.delivery is not None
        for number in range(500):
            cluster.create_job(make_job(f"job-{number:04}"))
        await asyncio.sleep(60)
        assert len(life.delivery.cache) == 100
        assert life.delivery.cache.evicted_total == 400
        assert len(endpoint.rows) == 0
        endpoint.down = None
        await asyncio.sleep(60)
        assert len(endpoint.rows) == 500
        assert {job["status"]["recordState"] for job in cluster.jobs()} == {"Stored"}
        assert len(life.delivery.cache) == 0
    assert endpoint.most_in_flight <= 8


@in_simulated_time
async def test_what_was_evicted_behind_the_cursor_is_not_left_until_the_next_round() -> None:
    """The list of the start is half read when the cache is full; then others push its keys out."""
    cluster, endpoint = new_cluster_and_endpoint()
    endpoint.down = DOWN
    async with running_operator(cluster, endpoint):
        for number in range(12):
            cluster.create_job(make_job(f"early-{number:02}"))
        await asyncio.sleep(30)
    async with running_operator(cluster, endpoint, retry_cache_size=8):
        for number in range(12):
            cluster.create_job(make_job(f"late-{number:02}"))
        await asyncio.sleep(30)
        endpoint.down = None
        await asyncio.sleep(90)
        assert {job["status"]["recordState"] for job in cluster.jobs()} == {"Stored"}


@in_simulated_time
async def test_keys_without_a_waiting_record_are_removed_at_once() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    endpoint.down = DOWN
    async with running_operator(cluster, endpoint):
        for number in range(12):
            cluster.create_job(make_job(f"job-{number:02}"))
        await asyncio.sleep(30)
    async with running_operator(cluster, endpoint, retry_cache_size=4):
        await asyncio.sleep(10)
        for number in range(4):  # the very ones that the cache holds
            cluster.annotate_job(f"job-{number:02}", **{ANNOTATION_DISCARD_RECORD: "true"})
        await asyncio.sleep(1)
        endpoint.down = None
        await asyncio.sleep(90)
    assert len(endpoint.rows) == 8


@in_simulated_time
async def test_what_waits_is_found_by_the_next_process() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    endpoint.down = DOWN
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(30)
    await asyncio.sleep(2 * 3600)  # finished jobs of then do not come back into the index
    endpoint.down = None
    async with running_operator(cluster, endpoint):
        await asyncio.sleep(30)
    assert cluster.status()["recordState"] == "Stored"
    assert finalizers(cluster) == []


@in_simulated_time
async def test_an_answer_that_is_lost_makes_no_second_row() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    endpoint.lost = 3
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(60)
    assert len(endpoint.rows) == 1
    assert len(endpoint.writes) == 4
    assert cluster.status()["recordState"] == "Stored"
