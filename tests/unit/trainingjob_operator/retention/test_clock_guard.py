"""After a standstill of hours there is no burst of work, and nothing is deleted too early."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Final

import pytest

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import LoopClock, in_simulated_time, suspend_process
from tests.unit.trainingjob_operator.retention.test_housekeeper import Volume, house
from tests.unit.trainingjob_operator.retention.test_job_deleter import finish, until
from tests.unit.trainingjob_operator.retention.test_job_sweep import ended, names
from trainingjob_operator.jobs.index_expiry import IndexExpiry
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.retention.clock_guard import ClockGuard

HOURS: Final = 7200.0


@asynccontextmanager
async def beating(guard: ClockGuard) -> AsyncIterator[None]:
    """As the operator's process does."""
    task = asyncio.create_task(guard.run())
    await asyncio.sleep(1)
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@in_simulated_time
async def test_a_policy_that_was_edited_meanwhile_is_heard_of_before_anything_is_deleted() -> None:
    """The appointment is due before the watch has brought the edit: both are there at once."""
    cluster = FakeCluster(LoopClock())
    async with SimulatedOperator(
        cluster, ttl_s=3600, interval_s=10**6, index_retention_s=86_400
    ) as life:
        await finish(cluster)
        await asyncio.sleep(60)
        cluster.policy_watch.hold()
        cluster.create_policy_as_user("ml", ttlSecondsAfterFinished=10_000)
        suspend_process(HOURS)
        await asyncio.sleep(5)
        assert cluster.jobs(), "deleted by a policy of two hours ago"
        assert life.guard.standstills_total == 1
        cluster.policy_watch.release()
        await asyncio.sleep(1000)
        assert cluster.jobs()
        await until(lambda: not cluster.jobs(), within_s=3000)


@in_simulated_time
async def test_what_is_due_goes_after_all_when_the_operator_has_had_its_time_to_listen() -> None:
    cluster = FakeCluster(LoopClock())
    async with SimulatedOperator(
        cluster, ttl_s=3600, interval_s=10**6, index_retention_s=86_400
    ) as life:
        for name in ("one", "two"):
            ended(cluster, name, ago_s=0)
        await life.resync.resync_until_done()
        await asyncio.sleep(60)
        woken_at = cluster.clock.monotonic() + HOURS
        suspend_process(HOURS)
        gone_at = await until(lambda: not cluster.jobs(), within_s=5000)
        assert 600 <= gone_at - woken_at <= 602


@pytest.mark.parametrize("asked_first", [True, False])
@in_simulated_time
async def test_a_standstill_is_noticed_once_by_whoever_comes_first(asked_first: bool) -> None:
    guard = ClockGuard(LoopClock(), hold_s=5)
    async with beating(guard):
        assert not guard.deletions_are_paused()
        suspend_process(59)
        await asyncio.sleep(0)
        assert not guard.deletions_are_paused(), "the watches outlive that"
        await asyncio.sleep(10)
        suspend_process(61)
        if not asked_first:
            await asyncio.sleep(1)
        assert guard.deletions_are_paused()
        await asyncio.sleep(50)
        assert guard.deletions_are_paused(), "a minute at least"
        await asyncio.sleep(12)
        assert not guard.deletions_are_paused()
        await asyncio.sleep(HOURS)
        assert not guard.deletions_are_paused(), (
            "a process that has nothing to do is not one that stands still"
        )
        assert guard.standstills_total == 1


@in_simulated_time
async def test_nothing_that_is_done_again_and_again_is_done_in_a_burst_afterwards() -> None:
    cluster = FakeCluster(LoopClock())
    cluster.create_job(make_job(suspend=True))
    async with SimulatedOperator(cluster, ttl_s=3600, interval_s=300) as life:
        forgets: list[float] = []
        aging = IndexExpiry(_Index(forgets), life.steady, retention_s=lambda: 3600)
        ticking = asyncio.create_task(aging.keep_evicting())
        await asyncio.sleep(30)
        resyncs, lists, before = life.resync.runs_total, len(cluster.calls), len(forgets)
        suspend_process(HOURS)
        await asyncio.sleep(5)
        ticking.cancel()
        assert life.resync.runs_total - resyncs == 1
        assert len(forgets) - before == 1
        asked = [call.method for call in cluster.calls[lists:]]
        assert asked.count("list_policies") == 1
        assert len(asked) < 10, asked


class _Index(JobIndex):
    """Notes when it is aged."""

    def __init__(self, at: list[float]) -> None:
        super().__init__(1)
        self._at = at

    def evict_finished_before(self, when: datetime) -> int:
        self._at.append(LoopClock().monotonic())
        return 0


@in_simulated_time
async def test_a_list_from_before_counts_for_nothing_afterwards(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It stands still in the middle of a run, between the list of jobs and the volume."""
    volume = Volume()
    home = await house(volume=volume)
    home.cluster.page_size = 1
    for number in range(3):
        ended(home.cluster, f"due-{number}")
    async with beating(home.life.guard):
        list_jobs, pages = home.cluster.list_jobs, 0

        async def stand_still(namespace, **kwargs):  # type: ignore[no-untyped-def]
            nonlocal pages
            async for page in list_jobs(namespace, **kwargs):
                yield page
                pages += 1
                if pages == 1:
                    suspend_process(HOURS)

        home.cluster.list_jobs = stand_still  # type: ignore[method-assign]
        with caplog.at_level(logging.INFO, logger="trainingjob_operator"):
            await home.keeper.tick("ops")
        assert volume.live == [], "the volume was swept by a list that is two hours old"
        assert home.counts.left_alone == ["ClockStepped"]
        assert names(home.cluster) == ["due-1", "due-2"]
        assert home.status()["skipped"] == {"ClockStepped": 2}
        assert home.keeper.overruns_total == 1

        await asyncio.sleep(600)
        await home.keeper.tick("ops")
        assert names(home.cluster) == []
        assert len(volume.live) == 1
    assert sum("stood still for" in record.getMessage() for record in caplog.records) == 1
