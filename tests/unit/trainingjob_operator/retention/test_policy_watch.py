"""Lists and watch events keep the index of policies correct in whatever order they arrive."""

import asyncio
from collections.abc import AsyncIterator

from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import LoopClock, in_simulated_time
from tests.unit.trainingjob_operator.retention.test_job_sweep import ended
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.kube.cluster import Page


@in_simulated_time
async def test_a_list_that_takes_long_brings_no_policy_back_that_has_gone_meanwhile() -> None:
    cluster = FakeCluster(LoopClock())
    cluster.create_policy_as_user("ml", ttlSecondsAfterFinished=5)
    life = SimulatedOperator(cluster, ttl_s=3600)
    await life.policy_watch.refresh()
    read, waits_s = cluster.list_policies, [10.0]

    async def slowly(namespace: str | None) -> AsyncIterator[Page]:
        wait_s = waits_s.pop() if waits_s else 0.0
        async for page in read(namespace):
            await asyncio.sleep(wait_s)
            yield page

    cluster.list_policies = slowly  # type: ignore[method-assign]
    slow = asyncio.create_task(life.policy_watch.refresh())
    await asyncio.sleep(1)
    gone = cluster.policy("ml")
    cluster.delete_policy("ml")
    life.policy_watch.policy_event("DELETED", gone)
    await life.policy_watch.refresh()
    await slow
    assert life.policies.get("ml") is None


@in_simulated_time
async def test_nothing_is_kept_of_a_policy_whose_end_only_a_list_has_told() -> None:
    cluster = FakeCluster(LoopClock())
    cluster.create_policy_as_user("ml", ttlSecondsAfterFinished=5)
    life = SimulatedOperator(cluster, ttl_s=3600)
    await life.policy_watch.refresh()
    ended(cluster, "old")
    await life.remover.remove(job_view(cluster.job("old")))
    cluster.delete_policy("ml")
    await life.policy_watch.refresh()
    assert not life.unreported.take_deleted("ml")
