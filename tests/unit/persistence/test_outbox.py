"""No record, however odd, and no number of them keeps the others from being stored."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.builders import make_job
from tests.support.cluster import FakeCluster, Kubelet, LoopClock, OperatorLife, leaping_time
from tests.support.endpoint import FakeEndpoint
from trainingjob_operator.constants import ANNOTATION_DISCARD_RECORD
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.errors import EndpointUnavailableError, RecordRejectedError

Object = dict[str, Any]


class PickyEndpoint(FakeEndpoint):
    """Fails at one record, as a receiver with a fault of its own does, and takes all others."""

    async def _write(self, record: Object) -> None:
        if record["name"] == "odd":
            self.tries += 1
            raise EndpointUnavailableError("HTTP 500: something went wrong")
        await super()._write(record)


@asynccontextmanager
async def operated(
    cluster: FakeCluster, endpoint: FakeEndpoint, **settings: Any
) -> AsyncIterator[OperatorLife]:
    async with OperatorLife(cluster, endpoint=endpoint, **settings) as life:
        kubelet = asyncio.create_task(Kubelet(cluster).run())
        try:
            yield life
        finally:
            kubelet.cancel()
            await asyncio.wait([kubelet])


@leaping_time
async def test_a_record_at_which_the_endpoint_fails_keeps_no_other_from_being_the_probe() -> None:
    cluster = FakeCluster(LoopClock())
    endpoint = PickyEndpoint(cluster)
    async with operated(cluster, endpoint) as life:
        assert life.carrier is not None
        cluster.create_job(make_job("odd"))
        await asyncio.sleep(600)
        assert life.carrier.outbox.endpoint_ails
        cluster.create_job(make_job("good"))
        await asyncio.sleep(120)
        assert cluster.status("good")["recordState"] == "Stored"
        assert cluster.status("odd")["recordState"] == "Pending"


@leaping_time
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


@leaping_time
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


@leaping_time
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
    async with operated(cluster, endpoint, retry_cache_size=4):
        await asyncio.sleep(30)
    assert endpoint.taken[0]["name"] == "late"
    assert len(endpoint.rows) == 13


@leaping_time
async def test_news_that_change_nothing_are_not_kept() -> None:
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
        assert life.carrier is not None
        assert life.carrier.outbox.delivery_of(job_view(cluster.job())) is None


async def _outage(cluster: FakeCluster, endpoint: FakeEndpoint, jobs: int) -> None:
    """So many jobs end while the endpoint is down."""
    endpoint.down = EndpointUnavailableError("cannot be reached")
    async with operated(cluster, endpoint, max_jobs=jobs + 1):
        for number in range(jobs):
            cluster.create_job(make_job(f"job-{number:03}"))
        await asyncio.sleep(60)
    endpoint.down = None
    cluster.calls.clear()


@leaping_time
async def test_all_records_are_out_before_the_first_of_many_jobs_says_so() -> None:
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


@leaping_time
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


@leaping_time
async def test_a_job_that_ends_does_not_queue_behind_the_news_of_an_outage() -> None:
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
