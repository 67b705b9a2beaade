"""The index forgets what finished long ago, and nothing of it stays anywhere."""

import asyncio

from tests.support.builders import make_job
from tests.support.cluster import FakeCluster, Kubelet, LoopClock, OperatorLife, leaping_time
from trainingjob_operator.gc.aging import IndexAging


def aged(life: OperatorLife, cluster: FakeCluster, retention_s: float) -> IndexAging:
    return IndexAging(life.index, cluster.clock, retention_s=lambda: retention_s)


@leaping_time
async def test_finished_jobs_leave_memory_with_their_appointments_and_live_ones_stay() -> None:
    cluster = FakeCluster(LoopClock())
    async with OperatorLife(cluster, ttl_s=3000, interval_s=10_000) as life:
        for name in ("one", "two"):
            cluster.create_job(make_job(name))
        cluster.create_job(make_job("live", suspend=True))
        kubelet = asyncio.create_task(Kubelet(cluster).run())
        await asyncio.sleep(10)
        kubelet.cancel()
        assert (len(life.index), len(life.queue)) == (3, 2)

        aging = aged(life, cluster, 600)
        ticking = asyncio.create_task(aging.run())
        await asyncio.sleep(580)
        assert len(life.index) == 3
        await asyncio.sleep(50)
        assert [entry.job.key.name for entry in life.index] == ["live"]
        assert len(life.queue) == 0, "an appointment that nobody remembers is not kept"
        assert (aging.take_forgotten(), aging.take_forgotten()) == (2, 0)
        ticking.cancel()
        assert len(cluster.jobs()) == 3, "their objects are the truth, and stay"


@leaping_time
async def test_a_finished_job_whose_pods_run_is_remembered() -> None:
    cluster = FakeCluster(LoopClock())
    async with OperatorLife(cluster, interval_s=10_000) as life:
        cluster.create_job(make_job(nodes=2, cleanPodPolicy="None", backoff_limit=0))
        await asyncio.sleep(1)
        for index in range(2):
            cluster.run_pod(cluster.pod(0, index))
        cluster.finish_pod(cluster.pod(0, 0), exit_code=1)
        await asyncio.sleep(5000)
        assert cluster.status()["phase"] == "Failed"
        aging = aged(life, cluster, 600)
        aging.forget()
        assert len(life.index) == 1
        cluster.lose_pod(cluster.pod(0, 1))
        await asyncio.sleep(1)
        aging.forget()
        assert len(life.index) == 0


@leaping_time
async def test_a_job_that_makes_room_for_another_leaves_the_queue_too() -> None:
    cluster = FakeCluster(LoopClock())
    async with OperatorLife(cluster, ttl_s=3000, max_jobs=3, interval_s=10_000) as life:
        kubelet = asyncio.create_task(Kubelet(cluster).run())
        for number in range(12):
            cluster.create_job(make_job(f"job-{number}"))
            await asyncio.sleep(10)
        kubelet.cancel()
        assert len(life.index) == 3
        assert len(life.queue) == 3
        assert life.index.evicted_total == 9


@leaping_time
async def test_a_job_goes_on_time_though_memory_forgets_at_the_same_age() -> None:
    cluster = FakeCluster(LoopClock())
    async with OperatorLife(cluster, ttl_s=600, interval_s=10_000) as life:
        ticking = asyncio.create_task(aged(life, cluster, 600).run())
        for number in range(20):
            cluster.create_job(make_job(f"job-{number}"))
            kubelet = asyncio.create_task(Kubelet(cluster).run())
            await asyncio.sleep(7.3)
            kubelet.cancel()
        await asyncio.sleep(700)
        assert cluster.jobs() == []
        ticking.cancel()
