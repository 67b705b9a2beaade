"""No record, and no number of records, keeps others from being stored."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.kubelet import Kubelet
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import LoopClock, in_simulated_time
from tests.support.records.endpoint import FakeEndpoint
from trainingjob_api.constants import ANNOTATION_DISCARD_RECORD
from trainingjob_api.errors import EndpointUnavailableError, RecordRejectedError
from trainingjob_operator.core.observe_job import job_view

Object = dict[str, Any]


class PickyEndpoint(FakeEndpoint):
    """Fails at odd records, as a receiver with a fault of its own does, and takes all others."""

    async def _write(self, record: Object) -> None:
        if record["name"].startswith("odd"):
            self.tries += 1
            raise EndpointUnavailableError("HTTP 500: something went wrong")
        await super()._write(record)


@asynccontextmanager
async def operated(
    cluster: FakeCluster, endpoint: FakeEndpoint, **settings: Any
) -> AsyncIterator[SimulatedOperator]:
    async with SimulatedOperator(cluster, endpoint=endpoint, **settings) as life:
        kubelet = asyncio.create_task(Kubelet(cluster).run())
        try:
            yield life
        finally:
            kubelet.cancel()
            await asyncio.wait([kubelet])


@in_simulated_time
async def test_a_record_at_which_the_endpoint_fails_keeps_no_other_from_being_the_probe() -> None:
    cluster = FakeCluster(LoopClock())
    endpoint = PickyEndpoint(cluster)
    async with operated(cluster, endpoint) as life:
        assert life.delivery is not None
        cluster.create_job(make_job("odd"))
        await asyncio.sleep(600)
        assert life.delivery.outbox.endpoint_is_down
        cluster.create_job(make_job("good"))
        await asyncio.sleep(120)
        assert cluster.status("good")["recordState"] == "Stored"
        assert cluster.status("odd")["recordState"] == "Pending"


@in_simulated_time
async def test_records_that_were_given_up_in_an_outage_do_not_use_up_the_probes() -> None:
    cluster = FakeCluster(LoopClock())
    endpoint = FakeEndpoint(cluster)
    endpoint.down = EndpointUnavailableError("cannot be reached")
    async with operated(cluster, endpoint):
        for number in range(40):
            cluster.create_job(make_job(f"job-{number}"))
        await asyncio.sleep(60)
        for number in range(39):
            cluster.annotate_job(f"job-{number}", **{ANNOTATION_DISCARD_RECORD: "true"})
        endpoint.down = None
        await asyncio.sleep(70)
        assert cluster.status("job-39")["recordState"] == "Stored"


@pytest.mark.long
@in_simulated_time
async def test_more_rejected_records_than_the_cache_has_room_for_are_offered_once_a_day() -> None:
    cluster = FakeCluster(LoopClock())
    endpoint = FakeEndpoint(cluster)
    endpoint.down = RecordRejectedError("HTTP 422: what is that?")
    async with operated(cluster, endpoint):
        for number in range(12):
            cluster.create_job(make_job(f"job-{number}"))
        await asyncio.sleep(60)
    endpoint.tries = 0
    async with operated(cluster, endpoint, retry_cache_size=4):
        await asyncio.sleep(3600)
        assert endpoint.tries == 12
        await asyncio.sleep(86_400)
        assert endpoint.tries == 24


@in_simulated_time
async def test_records_that_wait_come_before_any_number_of_rejected_ones() -> None:
    cluster = FakeCluster(LoopClock())
    endpoint = FakeEndpoint(cluster)
    endpoint.down = RecordRejectedError("HTTP 422: what is that?")
    async with operated(cluster, endpoint):
        for number in range(12):
            cluster.create_job(make_job(f"job-{number}"))
        await asyncio.sleep(60)
        endpoint.down = EndpointUnavailableError("cannot be reached")
        cluster.create_job(make_job("late"))
        await asyncio.sleep(20)
    endpoint.down, endpoint.delay_s = None, 1.0
    cluster.calls.clear()
    async with operated(cluster, endpoint, retry_cache_size=4):
        await asyncio.sleep(30)
    sent = [call.name for call in cluster.calls if call.method == "put_record"]
    assert sent[0] == "late"
    assert len(endpoint.rows) == 13


@in_simulated_time
async def test_deliveries_that_change_nothing_are_not_kept() -> None:
    cluster = FakeCluster(LoopClock())
    endpoint = FakeEndpoint(cluster)
    endpoint.down = RecordRejectedError("HTTP 422: what is that?")
    async with operated(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(60)
    endpoint.tries = 0
    async with operated(cluster, endpoint) as life:
        await asyncio.sleep(60)
        assert endpoint.tries == 1
        assert life.delivery is not None
        assert life.delivery.outbox.delivery_of(job_view(cluster.job())) is None


async def _outage(cluster: FakeCluster, endpoint: FakeEndpoint, jobs: int) -> None:
    """So many jobs end while the endpoint is down."""
    endpoint.down = EndpointUnavailableError("cannot be reached")
    async with operated(cluster, endpoint, max_jobs=jobs + 1):
        for number in range(jobs):
            cluster.create_job(make_job(f"job-{number:03}"))
        await asyncio.sleep(60)
    endpoint.down = None
    cluster.calls.clear()


@in_simulated_time
async def test_all_records_are_sent_before_the_first_of_many_statuses_is_written() -> None:
    cluster = FakeCluster(LoopClock())
    endpoint = FakeEndpoint(cluster)
    await _outage(cluster, endpoint, 100)
    endpoint.delay_s = 0.1
    async with operated(cluster, endpoint):
        await asyncio.sleep(30)
    methods = [call.method for call in cluster.calls]
    last = max(number for number, method in enumerate(methods) if method == "put_record")
    assert methods.index("patch_job_status") > last - endpoint.most_in_flight
    assert {job["status"]["recordState"] for job in cluster.jobs()} == {"Stored"}


@in_simulated_time
async def test_jobs_say_so_after_half_a_minute_however_many_records_are_still_to_go_out() -> None:
    cluster = FakeCluster(LoopClock())
    endpoint = FakeEndpoint(cluster)
    await _outage(cluster, endpoint, 100)
    endpoint.delay_s = 5.0  # 100 records take a minute
    async with operated(cluster, endpoint):
        await asyncio.sleep(30)
        assert {job["status"]["recordState"] for job in cluster.jobs()} == {"Pending"}
        await asyncio.sleep(10)
        states = [job["status"]["recordState"] for job in cluster.jobs()]
        assert 0 < states.count("Stored") < 64
        await asyncio.sleep(40)
    assert {job["status"]["recordState"] for job in cluster.jobs()} == {"Stored"}


@pytest.mark.long
@in_simulated_time
async def test_a_job_that_ends_does_not_queue_behind_the_deliveries_of_an_outage() -> None:
    cluster = FakeCluster(LoopClock())
    endpoint = FakeEndpoint(cluster)
    await _outage(cluster, endpoint, 300)
    endpoint.down = EndpointUnavailableError("cannot be reached")
    async with operated(cluster, endpoint, max_jobs=400) as life:
        await asyncio.sleep(30)
        endpoint.down, deepest = None, 0
        while {job["status"]["recordState"] for job in cluster.jobs()} != {"Stored"}:
            deepest = max(deepest, life.queue.depth)
            await asyncio.sleep(0)
    assert 0 < deepest < 100


# --- what a list brings -------------------------------------------------------------------------


@in_simulated_time
async def test_after_an_outage_jobs_come_in_pages_and_are_not_read_one_by_one() -> None:
    cluster = FakeCluster(LoopClock())
    endpoint = FakeEndpoint(cluster)
    endpoint.down = EndpointUnavailableError("cannot be reached")
    async with operated(cluster, endpoint, max_jobs=300) as life:
        for number in range(250):
            cluster.create_job(make_job(f"job-{number:03}"))
        await asyncio.sleep(60)
        assert len(life.manifests) <= 16, "in an outage memory is not for it"
        endpoint.down = None
        cluster.calls.clear()
        await asyncio.sleep(60)
        counted = Counter(call.method for call in cluster.calls)
    assert len(endpoint.writes) == len(endpoint.rows) == 250
    assert counted["jobs_by_record_state"] <= 4
    assert counted["get_job"] <= 2 * 8


@in_simulated_time
async def test_jobs_that_the_index_has_forgotten_come_in_pages_too_and_leave_nothing_behind() -> (
    None
):
    cluster = FakeCluster(LoopClock())
    endpoint = FakeEndpoint(cluster)
    await _outage(cluster, endpoint, 150)
    await asyncio.sleep(2 * 3600)
    async with operated(cluster, endpoint, max_jobs=10) as life:
        await asyncio.sleep(0.5)
        sent = [call.method for call in cluster.calls]
        await asyncio.sleep(60)
        assert (life.manifests.used_bytes, len(life.manifests)) == (0, 0)
    assert "get_job" not in sent[: sent.index("put_record")]
    assert len(endpoint.writes) == len(endpoint.rows) == 150
    assert {job["status"]["recordState"] for job in cluster.jobs()} == {"Stored"}


@pytest.mark.long
@in_simulated_time
async def test_an_outage_keeps_as_many_keys_as_there_is_room_for_and_no_specs() -> None:
    cluster = FakeCluster(LoopClock())
    endpoint = FakeEndpoint(cluster)
    await _outage(cluster, endpoint, 250)
    endpoint.down = EndpointUnavailableError("cannot be reached")
    async with operated(cluster, endpoint, retry_cache_size=120) as life:
        await asyncio.sleep(60)
        assert life.delivery is not None
        assert (len(life.delivery.cache), len(life.delivery.outbox.listed)) == (120, 0)
        assert len(life.manifests) <= 8  # of those that went out before it was known
        cluster.calls.clear()
        await asyncio.sleep(3600)
        asked = {call.method for call in cluster.calls}
        assert "put_record" in asked
        assert "jobs_by_record_state" not in asked, "there is no place for what it would bring"
        endpoint.down = None
        await asyncio.sleep(60)
    assert {job["status"]["recordState"] for job in cluster.jobs()} == {"Stored"}


@in_simulated_time
async def test_a_page_of_records_at_which_the_endpoint_fails_hides_no_good_one_from_the_probes() -> (
    None
):
    cluster = FakeCluster(LoopClock())
    endpoint = PickyEndpoint(cluster)
    endpoint.down = EndpointUnavailableError("cannot be reached")
    async with operated(cluster, endpoint):
        for number in range(20):
            cluster.create_job(make_job(f"odd-{number:02}"))
        cluster.create_job(make_job("zebra"))
        await asyncio.sleep(60)
    endpoint.down = None
    async with operated(cluster, endpoint):
        await asyncio.sleep(21 * 30 + 60)
    assert cluster.status("zebra")["recordState"] == "Stored"


@in_simulated_time
async def test_a_job_that_has_changed_since_it_was_listed_is_sent_as_it_is() -> None:
    cluster = FakeCluster(LoopClock())
    endpoint = FakeEndpoint(cluster)
    await _outage(cluster, endpoint, 40)
    endpoint.delay_s = 2.0
    async with operated(cluster, endpoint):
        await asyncio.sleep(5)  # all are listed, the first 16 are sent
        cluster.edit_job("job-030", ttlSecondsAfterFinished=4711)
        await asyncio.sleep(60)
    assert endpoint.row("job-030")["spec"]["ttlSecondsAfterFinished"] == 4711
    assert cluster.status("job-030")["recordState"] == "Stored"


@in_simulated_time
async def test_records_that_fail_while_the_cache_is_full_are_not_retried_without_a_pause() -> None:
    cluster = FakeCluster(LoopClock())
    endpoint = PickyEndpoint(cluster)
    async with operated(cluster, endpoint, retry_cache_size=2) as life:
        for number in range(6):
            cluster.create_job(make_job(f"odd-{number}"))
        for minute in range(30):
            cluster.create_job(make_job(f"good-{minute:02}"))
            await asyncio.sleep(60)
        assert life.delivery is not None
        assert len(life.delivery.cache) == 2
    states = Counter(job["status"]["recordState"] for job in cluster.jobs())
    assert states["Stored"] >= 29
    assert endpoint.tries - states["Stored"] < 200  # of six records in half an hour
