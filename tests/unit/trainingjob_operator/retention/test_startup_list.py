"""The first sweeps use the list of the start if it suffices, and make their own if not."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import LoopClock, in_simulated_time
from tests.unit.trainingjob_operator.retention.test_housekeeper import Volume
from tests.unit.trainingjob_operator.retention.test_job_sweep import ended, names
from trainingjob_api.constants import ANNOTATION_KEEP
from trainingjob_api.errors import ForbiddenError, GoneError
from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.kube.cluster import Page
from trainingjob_operator.retention import startup_list
from trainingjob_operator.retention.startup_list import FRESH_S


class Listed(FakeCluster):
    """A cluster that counts the lists of jobs."""

    def __init__(self) -> None:
        super().__init__(LoopClock(), namespaces=("a", "ml", "ops", "other"))
        self.lists: list[str | None] = []

    def list_jobs(self, namespace: str | None) -> AsyncIterator[Page]:
        self.lists.append(namespace)
        return super().list_jobs(namespace)


async def started(cluster: FakeCluster, **wanted: Any) -> SimulatedOperator:
    """An operator that has filled its index, and neither watches nor decides."""
    life = SimulatedOperator(cluster, ttl_s=3600, **wanted)
    await life.policy_watch.refresh()
    await life.resync.resync_until_done([life.startup_list])
    return life


@in_simulated_time
async def test_first_sweeps_of_all_policies_delete_what_the_list_of_the_start_has_shown() -> None:
    cluster = Listed()
    cluster.create_policy_as_user("ml", ttlSecondsAfterFinished=100)
    cluster.create_policy_as_user("a")
    ended(cluster, "old", namespace="other")
    ended(cluster, "young", namespace="other", ago_s=200)
    ended(cluster, "old", namespace="ml", ago_s=200)
    ended(cluster, "pinned", namespace="ml", metadata={"annotations": {ANNOTATION_KEEP: "yes"}})
    life = await started(cluster)
    for namespace in ("ops", "ml", "a"):
        await life.housekeeper.tick(namespace)

    assert names(cluster) == ["pinned", "young"]
    assert cluster.lists == [None], "the list of the start, and no other"
    assert cluster.policy("ml")["status"]["skipped"] == {"Kept": 1}
    assert [cluster.policy(each)["status"]["jobsDeleted"] for each in ("ops", "ml", "a")] == [
        *(1, 1, 0)
    ]
    for namespace in ("ops", "ml"):
        await life.housekeeper.tick(namespace)
    assert cluster.lists == [None, None, "ml"], "every later sweep lists by itself"


@in_simulated_time
async def test_a_history_limit_takes_a_list_of_its_own_for_the_newer_jobs_may_have_gone() -> None:
    cluster = Listed()
    cluster.create_policy_as_user("ml", successfulJobsHistoryLimit=1)
    for age in (30, 10, 20):
        ended(cluster, f"ended-{age}-s-ago", namespace="ml", ago_s=age)
    life = await started(cluster)
    cluster.delete_job("ended-10-s-ago", namespace="ml")
    await life.housekeeper.tick("ml")
    assert names(cluster) == ["ended-20-s-ago"]
    assert len(cluster.lists) == 2


@in_simulated_time
async def test_what_is_due_is_read_again_before_it_is_deleted() -> None:
    cluster = Listed()
    for name in ("due", "pinned-since", "replaced"):
        ended(cluster, name)
    life = await started(cluster)
    cluster.annotate_job("pinned-since", **{ANNOTATION_KEEP: "yes"})
    cluster.delete_job("replaced")
    ended(cluster, "replaced", ago_s=0)
    await life.housekeeper.tick("ops")
    assert names(cluster) == ["pinned-since", "replaced"]
    assert cluster.lists == [None]


@in_simulated_time
async def test_the_volume_is_swept_by_the_list_of_the_start_and_as_of_its_time() -> None:
    cluster, volume = Listed(), Volume()
    ended(cluster, "young", ago_s=10)
    listed_at = cluster.clock.now()
    life = await started(cluster, sweep=volume)
    await asyncio.sleep(30)
    ended(cluster, "younger", ago_s=0)
    await life.housekeeper.tick("ops")
    [live] = volume.live
    assert live.listed_at == listed_at
    assert live.uids == {cluster.job("young")["metadata"]["uid"]}
    assert cluster.lists == [None]


def edit(cluster: FakeCluster) -> None:
    cluster.edit_policy("ml", ttlSecondsAfterFinished=1)


def create(cluster: FakeCluster) -> None:
    cluster.create_policy_as_user("other", ttlSecondsAfterFinished=1)


def delete(cluster: FakeCluster) -> None:
    cluster.delete_policy("ml")


@pytest.mark.parametrize("change", [edit, create, delete])
@in_simulated_time
async def test_where_policies_have_changed_since_a_sweep_lists_by_itself(change: Any) -> None:
    cluster = Listed()
    cluster.create_policy_as_user("ml", ttlSecondsAfterFinished=10_000_000)
    ended(cluster, "young", ago_s=10)
    life = await started(cluster)
    change(cluster)
    await life.housekeeper.tick("ops")
    assert cluster.lists == [None, None]
    await life.housekeeper.tick("ml")
    assert names(cluster) == ([] if change is edit else ["young"])


@in_simulated_time
async def test_policies_that_are_not_known_when_the_list_is_read_are_known_to_the_sweep() -> None:
    cluster = Listed()
    cluster.create_policy_as_user("ml", ttlSecondsAfterFinished=1)
    ended(cluster, "young", ago_s=10)
    life = SimulatedOperator(cluster, ttl_s=3600)
    cluster.fail_next("list_policies", ForbiddenError("its role is missing"))
    await life.start()
    try:
        await life.housekeeper.tick("ops")
        await life.housekeeper.tick("ml")
        assert names(cluster) == []
    finally:
        await life.stop()


@in_simulated_time
async def test_an_old_list_is_of_no_use_and_is_not_kept() -> None:
    cluster = Listed()
    ended(cluster, "old")
    life = await started(cluster, sweep=Volume())
    await asyncio.sleep(FRESH_S + 1)
    assert not life.startup_list._reports, "whether a sweep comes or not"
    await life.housekeeper.tick("ops")
    assert cluster.lists == [None, None]
    assert names(cluster) == []


@in_simulated_time
async def test_an_operator_that_stops_leaves_nothing_of_the_list_behind() -> None:
    cluster = Listed()
    ended(cluster, "old")
    life = SimulatedOperator(cluster, ttl_s=3600)
    await life.start()
    timer = life.startup_list._timer
    assert timer is not None
    assert not timer.cancelled()
    await life.stop()
    assert timer.cancelled(), "it would hold all that this operator remembers"
    assert not life.startup_list._reports


@in_simulated_time
async def test_a_list_that_is_begun_anew_counts_once() -> None:
    cluster = Listed()
    ended(cluster, "pinned", metadata={"annotations": {ANNOTATION_KEEP: "yes"}})
    cluster.fail_next("list_pods", GoneError("the list took too long"))
    life = await started(cluster)
    assert cluster.lists == [None, None]
    found = life.startup_list.take("ops")
    assert found is not None
    assert (found[1].examined, found[1].skipped) == (1, {"Kept": 1})


@in_simulated_time
async def test_a_list_that_lacks_a_namespace_is_of_no_use() -> None:
    cluster = Listed()
    cluster.fail_next("list_pods", ForbiddenError("its role is missing"))
    life = await started(cluster, namespaces=("ml", "ops"))
    assert life.startup_list.take("ops") is None


@in_simulated_time
async def test_more_than_the_limit_is_left_to_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup_list, "MAX_DUE", 2)
    cluster = Listed()
    for number in range(3):
        ended(cluster, f"old-{number}")
    life = await started(cluster)
    assert not life.startup_list._due
    await life.housekeeper.tick("ops")
    assert cluster.lists == [None, None]
    assert names(cluster) == []


@in_simulated_time
async def test_where_a_job_is_not_understood_the_sweep_lists_and_counts_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Listed()
    ended(cluster, "strange")
    life = SimulatedOperator(cluster, ttl_s=3600)
    await life.policy_watch.refresh()

    def fail(job: JobView) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(life.remover, "judge", fail)
    await life.resync.resync_until_done([life.startup_list])
    assert JobKey("ml", "strange") not in life.index
    await life.housekeeper.tick("ops")
    assert cluster.policy("ops")["status"]["errors"] == 1
