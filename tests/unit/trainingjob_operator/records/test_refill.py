"""The first walk over jobs whose records wait: skipped if the first list contained none."""

import asyncio
from typing import Any

import pytest

from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import LoopClock, in_simulated_time
from tests.support.records.endpoint import FakeEndpoint
from tests.unit.trainingjob_operator.retention.test_job_sweep import ended
from trainingjob_api.errors import ForbiddenError
from trainingjob_operator.records.refill import EVERY_S, REJECTED_EVERY_S

WALK = "jobs_by_record_state"


def walks(cluster: FakeCluster) -> int:
    return sum(call.method == WALK for call in cluster.calls)


def sent(cluster: FakeCluster) -> set[str]:
    return {call.name for call in cluster.calls if call.method == "put_record"}


def operated(cluster: FakeCluster, **settings: Any) -> SimulatedOperator:
    return SimulatedOperator(cluster, endpoint=FakeEndpoint(cluster), **settings)


@in_simulated_time
async def test_where_nothing_waits_the_first_walk_comes_after_its_interval() -> None:
    cluster = FakeCluster(LoopClock())
    ended(cluster, "stored", state="Stored")
    async with operated(cluster):
        await asyncio.sleep(EVERY_S - 1)
        assert walks(cluster) == 0
        await asyncio.sleep(2)
        assert walks(cluster) == 1, "of those that wait: what was rejected is asked for once a day"
        await asyncio.sleep(REJECTED_EVERY_S)
        states = [call for call in cluster.calls if call.method == WALK]
        assert len(states) == REJECTED_EVERY_S // EVERY_S + 2


@pytest.mark.parametrize("state", ["Pending", "Rejected"])
@in_simulated_time
async def test_a_job_whose_record_waits_is_found_though_the_index_has_no_room_for_it(
    state: str,
) -> None:
    cluster = FakeCluster(LoopClock())
    ended(cluster, "of-long-ago", ago_s=100_000, state=state)
    async with operated(cluster) as life:
        await asyncio.sleep(EVERY_S / 2)
        assert not len(life.index)
        assert sent(cluster) == {"of-long-ago"}


@in_simulated_time
async def test_a_job_that_begins_to_wait_later_is_not_waited_for_by_a_walk() -> None:
    cluster = FakeCluster(LoopClock())
    async with operated(cluster):
        ended(cluster, "of-now", ago_s=1, state="Pending")
        await asyncio.sleep(EVERY_S / 2)
        assert sent(cluster) == {"of-now"}
        assert not walks(cluster)


@in_simulated_time
async def test_where_a_namespace_could_not_be_listed_the_first_walk_is_made() -> None:
    cluster = FakeCluster(LoopClock())
    cluster.fail_next("list_pods", ForbiddenError("its role is missing"))
    async with operated(cluster, namespaces=("ml", "ops")):
        await asyncio.sleep(EVERY_S / 2)
        assert walks(cluster)
