"""Jobs that finished long ago are evicted from the index; their scheduled deletion remains."""

import asyncio

import pytest

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.kubelet import Kubelet
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import AdjustableLoopClock, LoopClock, in_simulated_time
from tests.unit.trainingjob_operator.retention.test_job_sweep import ended
from trainingjob_operator.jobs.index_expiry import IndexExpiry


def aged(life: SimulatedOperator, retention_s: float) -> IndexExpiry:
    return IndexExpiry(life.index, life.steady, retention_s=lambda: retention_s)


def second_stays(attempt: int, rank: int) -> int | None:
    """A kubelet on which rank 0 completes and a second one runs for ever."""
    return None if rank else 0


@in_simulated_time
async def test_finished_jobs_leave_memory_and_go_on_time_all_the_same_and_live_ones_stay() -> None:
    cluster = FakeCluster(LoopClock())
    async with SimulatedOperator(cluster, ttl_s=3000, interval_s=10_000) as life:
        for name in ("one", "two"):
            cluster.create_job(make_job(name))
        cluster.create_job(make_job("live", nodes=2))
        kubelet = asyncio.create_task(Kubelet(cluster, second_stays).run())
        await asyncio.sleep(10)
        kubelet.cancel()
        assert (len(life.index), len(life.queue)) == (3, 2)

        aging = aged(life, 600)
        ticking = asyncio.create_task(aging.keep_evicting())
        await asyncio.sleep(580)
        assert len(life.index) == 3
        await asyncio.sleep(50)
        assert [entry.job.key.name for entry in life.index] == ["live"]
        assert len(life.queue) == 2, "the appointments with their deletion"
        assert (aging.take_forgotten(), aging.take_forgotten()) == (2, 0)
        await asyncio.sleep(2360)
        assert len(cluster.jobs()) == 3, "their objects are the truth, and stay"
        await asyncio.sleep(20)
        ticking.cancel()
        assert [job["metadata"]["name"] for job in cluster.jobs()] == ["live"]
        assert len(life.queue) == 0


@in_simulated_time
async def test_an_appointment_of_a_job_that_is_forgotten_is_its_own_and_not_its_namesakes() -> (
    None
):
    """Only a key is kept of it: the job is read, judged again, and deleted by its uid."""
    cluster = FakeCluster(LoopClock())
    async with SimulatedOperator(cluster, ttl_s=3000, interval_s=10_000) as life:
        aging = aged(life, 600)
        kubelet = asyncio.create_task(Kubelet(cluster).run())
        cluster.create_job(make_job())
        await asyncio.sleep(700)
        aging.forget()
        cluster.delete_job()
        cluster.create_job(make_job())  # ends 700 s after the first one
        await asyncio.sleep(700)
        aging.forget()
        kubelet.cancel()
        assert (cluster.status()["phase"], len(life.index)) == ("Succeeded", 0)
        await asyncio.sleep(1700)
        assert cluster.jobs(), "the time of the first one is over, and this one is another"
        await asyncio.sleep(620)
        assert not cluster.jobs(), "and goes at its own"


@in_simulated_time
async def test_a_finished_job_with_running_pods_stays_in_the_index() -> None:
    cluster = FakeCluster(LoopClock())
    async with SimulatedOperator(cluster, interval_s=10_000) as life:
        cluster.create_job(make_job(nodes=2, cleanPodPolicy="None", backoff_limit=0))
        await asyncio.sleep(1)
        for index in range(2):
            cluster.run_pod(cluster.pod(0, index))
        cluster.finish_pod(cluster.pod(0, 0), exit_code=1)
        await asyncio.sleep(5000)
        assert cluster.status()["phase"] == "Failed"
        aging = aged(life, 600)
        aging.forget()
        assert len(life.index) == 1
        cluster.lose_pod(cluster.pod(0, 1))
        await asyncio.sleep(1)
        aging.forget()
        assert len(life.index) == 0


@in_simulated_time
async def test_an_evicted_job_is_still_deleted_on_time() -> None:
    cluster = FakeCluster(LoopClock())
    async with SimulatedOperator(cluster, ttl_s=3000, max_jobs=3, interval_s=10_000) as life:
        kubelet = asyncio.create_task(Kubelet(cluster).run())
        for number in range(12):
            cluster.create_job(make_job(f"job-{number}"))
            await asyncio.sleep(10)
        kubelet.cancel()
        assert len(life.index) == 3
        assert life.index.evicted_total == 9
        assert len(life.queue) == 12
        await asyncio.sleep(3000)
        assert not cluster.jobs()
        assert len(life.queue) == 0


@in_simulated_time
async def test_a_job_is_deleted_on_time_though_the_index_evicts_it_at_the_same_age() -> None:
    cluster = FakeCluster(LoopClock())
    async with SimulatedOperator(cluster, ttl_s=600, interval_s=10_000) as life:
        ticking = asyncio.create_task(aged(life, 600).keep_evicting())
        for number in range(20):
            cluster.create_job(make_job(f"job-{number}"))
            kubelet = asyncio.create_task(Kubelet(cluster).run())
            await asyncio.sleep(7.3)
            kubelet.cancel()
        await asyncio.sleep(700)
        assert cluster.jobs() == []
        ticking.cancel()


@pytest.mark.parametrize("set_by_s", [7 * 86_400, -7 * 86_400])
def test_memory_forgets_at_the_same_age_whatever_the_wall_clock_is_set_to(set_by_s: float) -> None:
    @in_simulated_time
    async def play() -> None:
        clock = AdjustableLoopClock()
        cluster = FakeCluster(clock)
        async with SimulatedOperator(cluster, ttl_s=10**7, interval_s=10_000) as life:
            aging = aged(life, 600)
            cluster.create_job(make_job("before"))
            kubelet = asyncio.create_task(Kubelet(cluster).run())
            await asyncio.sleep(300)
            clock.ahead_s = set_by_s
            cluster.create_job(make_job("after"))
            await asyncio.sleep(280)
            aging.forget()
            assert len(life.index) == 2, "too soon"
            await asyncio.sleep(30)
            aging.forget()
            assert [entry.job.key.name for entry in life.index] == ["after"]
            await asyncio.sleep(310)
            kubelet.cancel()
            aging.forget()
            assert len(life.index) == 0

    play()


@in_simulated_time
async def test_a_job_that_finished_in_the_future_is_not_remembered_until_then() -> None:
    clock = AdjustableLoopClock()
    cluster = FakeCluster(clock)
    async with SimulatedOperator(cluster, ttl_s=3000, interval_s=300) as life:
        clock.ahead_s = 365 * 86_400
        cluster.create_job(make_job("live", nodes=2))
        cluster.create_job(make_job())
        kubelet = asyncio.create_task(Kubelet(cluster, second_stays).run())
        await asyncio.sleep(10)
        kubelet.cancel()
        clock.ahead_s = 0
        ticking = asyncio.create_task(aged(life, 600).keep_evicting())
        await asyncio.sleep(620)
        assert [entry.job.key.name for entry in life.index] == ["live"]
        for _ in range(20):
            await asyncio.sleep(50)
            assert [each.job.key.name for each in life.index] == ["live"], "no list brings it back"
        assert life.resync.runs_total > 3
        ticking.cancel()
    assert len(cluster.jobs()) == 2


@in_simulated_time
async def test_a_process_that_begins_does_not_take_in_what_finished_in_the_future() -> None:
    cluster = FakeCluster(LoopClock())
    ended(cluster, "ahead", ago_s=-(10**6))
    ended(cluster, "a-moment-ahead", ago_s=-30)
    life = SimulatedOperator(cluster)
    await life.resync.resync_until_done()
    assert [entry.job.key.name for entry in life.index] == ["a-moment-ahead"]
