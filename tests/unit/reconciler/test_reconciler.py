"""The protocol, rule by rule, each with the interleaving that it prevents.

Where the order of things matters, passes are made one by one by hand; where only the outcome
does, workers, watches and a kubelet run as they do in a process.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from tests.support.builders import make_job
from tests.support.cluster import FakeCluster
from tests.support.kubelet import Kubelet
from tests.support.leaping import LoopClock, leaping_time
from tests.support.operator_life import OperatorLife
from trainingjob_operator.constants import ANNOTATION_TEMPLATE_HASH
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.core.naming import pod_name
from trainingjob_operator.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    KubernetesError,
    UnavailableError,
)
from trainingjob_operator.reconciler.pace import PROGRESS_EVERY_S
from trainingjob_operator.reconciler.reconciler import FRESH_S

KEY = JobKey("ml", "mnist")
OUTAGE = UnavailableError("etcdserver: leader changed", status=503)
Object = dict[str, Any]


def new_cluster() -> FakeCluster:
    return FakeCluster(LoopClock())


async def by_hand(cluster: FakeCluster, **settings: Any) -> OperatorLife:
    """An operator that watches, and makes a pass only when it is told to."""
    life = OperatorLife(cluster, **settings)
    cluster.connect(life.intake)
    await echo()
    return life


async def echo() -> None:
    """Let the watches deliver what has happened so far."""
    await asyncio.sleep(0.001)


async def settle(life: OperatorLife, key: JobKey = KEY) -> None:
    """Make passes, with the watches' news in between, until one has nothing more to do at once."""
    await echo()
    while await life.reconciler.reconcile(key) == 0:
        await echo()
    await echo()


@asynccontextmanager
async def operated(
    cluster: FakeCluster,
    script: Callable[[int, int], int | None] = lambda attempt, rank: 0,
    **settings: Any,
) -> AsyncIterator[OperatorLife]:
    """An operator and a kubelet at work."""
    async with OperatorLife(cluster, **settings) as life:
        kubelet = asyncio.create_task(Kubelet(cluster, script).run())
        try:
            yield life
        finally:
            kubelet.cancel()
            with suppress(asyncio.CancelledError):
                await kubelet


async def running(cluster: FakeCluster, nodes: int = 2, **spec: Any) -> OperatorLife:
    """A job all of whose ranks run, and an operator by hand."""
    life = await by_hand(cluster)
    cluster.create_job(make_job(nodes=nodes, **spec))
    await settle(life)
    for pod in cluster.pods():
        cluster.run_pod(pod)
    await asyncio.sleep(PROGRESS_EVERY_S)
    await settle(life)
    return life


def methods(cluster: FakeCluster) -> list[str]:
    return [call.method for call in cluster.calls]


def conditions(cluster: FakeCluster, name: str = "mnist") -> dict[str, tuple[str, str]]:
    found = cluster.status(name).get("conditions", [])
    return {c["type"]: (c["status"], c["reason"]) for c in found}


def names(pods: list[Object]) -> list[str]:
    return sorted(pod["metadata"]["name"] for pod in pods)


# --- what a life costs ------------------------------------------------------------------------


@leaping_time
async def test_a_job_of_one_pod_costs_one_creation_and_three_status_writes() -> None:
    cluster = new_cluster()
    async with operated(cluster):
        await asyncio.sleep(1)
        cluster.calls.clear()
        cluster.create_job(make_job())
        await asyncio.sleep(100)
    assert methods(cluster) == ["create_pod", *["patch_job_status"] * 3]
    assert [e.object["status"]["phase"] for e in cluster.effects[1:]] == [
        "Pending",
        "Running",
        "Succeeded",
    ]


@leaping_time
async def test_a_pod_that_is_done_within_a_second_saves_a_write() -> None:
    cluster = new_cluster()
    life = await by_hand(cluster)
    cluster.create_job(make_job())
    await settle(life)
    cluster.run_pod(cluster.pod())
    await settle(life)
    cluster.finish_pod(cluster.pod())
    await settle(life)
    assert methods(cluster) == ["create_pod", "patch_job_status", "patch_job_status"]
    assert conditions(cluster)["Complete"] == ("True", "CompletionsReached")


@leaping_time
async def test_that_every_rank_runs_is_written_within_a_second() -> None:
    cluster = new_cluster()
    life = await by_hand(cluster)
    cluster.create_job(make_job())
    await settle(life)
    cluster.run_pod(cluster.pod())
    await echo()
    wait = await life.reconciler.reconcile(KEY)
    assert wait is not None
    assert 0 < wait <= PROGRESS_EVERY_S
    assert cluster.status()["phase"] == "Pending"
    await asyncio.sleep(wait)
    assert await life.reconciler.reconcile(KEY) is None
    assert cluster.status()["phase"] == "Running"


@leaping_time
async def test_what_is_in_the_way_of_a_rank_is_written_at_once() -> None:
    cluster = new_cluster()
    life = await by_hand(cluster)
    cluster.create_job(make_job())
    await settle(life)
    cluster.refuse_to_schedule(cluster.pod(), "0/3 nodes are available")
    await settle(life)
    assert conditions(cluster)["PodsReady"] == ("False", "Unschedulable")


@leaping_time
async def test_a_job_of_four_ranks_creates_one_service_and_four_pods() -> None:
    cluster = new_cluster()
    async with operated(cluster):
        await asyncio.sleep(1)
        cluster.calls.clear()
        cluster.create_job(make_job(nodes=4))
        await asyncio.sleep(100)
    counted = Counter(methods(cluster))
    writes = counted.pop("patch_job_status")
    assert counted == {"create_service": 1, "create_pod": 4}
    assert writes <= 4
    assert cluster.status()["completedIndexes"] == "0-3"
    assert cluster.status()["phase"] == "Succeeded"


@leaping_time
async def test_settled_jobs_cost_a_restarted_operator_nothing_but_lists() -> None:
    """One pair before anything is decided, one when the watches are open."""
    cluster = new_cluster()
    async with operated(cluster, lambda attempt, rank: None):
        for name in ("a", "b", "c"):
            cluster.create_job(make_job(name, nodes=2))
        await asyncio.sleep(30)
    cluster.calls.clear()
    async with operated(cluster, lambda attempt, rank: None):
        await asyncio.sleep(30)
    assert methods(cluster) == ["list_jobs", "list_pods"] * 2


@leaping_time
async def test_many_ranks_that_become_ready_one_by_one_are_one_write_a_second() -> None:
    cluster = new_cluster()
    async with OperatorLife(cluster):
        cluster.create_job(make_job(nodes=50))
        await asyncio.sleep(5)
        cluster.calls.clear()
        for pod in cluster.pods():
            cluster.run_pod(pod)
            await asyncio.sleep(0.2)
        await asyncio.sleep(5)
    assert 8 <= len(cluster.calls) <= 13  # 10 s of pods, the first and the last of them
    assert set(methods(cluster)) == {"patch_job_status"}
    assert cluster.status()["ready"] == 50


# --- rule 1: status is the write-ahead record -------------------------------------------------


@leaping_time
async def test_the_next_attempt_is_in_status_before_a_pod_of_the_last_one_is_deleted() -> None:
    cluster = new_cluster()
    life = await running(cluster)
    cluster.finish_pod(cluster.pod(0, 0), exit_code=1)
    await settle(life)
    deletions = [e for e in cluster.effects if e.method == "delete_pod"]
    assert len(deletions) == 2
    assert all(e.job_status["attempt"] == 1 for e in deletions)
    assert all(e.job_status["restarts"] == 1 for e in deletions)


@leaping_time
async def test_no_pod_is_deleted_while_the_restart_cannot_be_recorded() -> None:
    cluster = new_cluster()
    life = await running(cluster)
    cluster.finish_pod(cluster.pod(0, 0), exit_code=1)
    await echo()
    cluster.fail_next("patch_job_status", OUTAGE)
    with suppress(KubernetesError):
        await life.reconciler.reconcile(KEY)
    assert "delete_pod" not in methods(cluster)
    await settle(life)
    assert cluster.status()["restarts"] == 1


@leaping_time
async def test_a_restart_whose_write_was_taken_but_not_answered_is_counted_once() -> None:
    cluster = new_cluster()
    life = await running(cluster)
    cluster.finish_pod(cluster.pod(0, 0), exit_code=1)
    await echo()
    cluster.fail_next("patch_job_status", OUTAGE, after=True)
    with suppress(KubernetesError):
        await life.reconciler.reconcile(KEY)
    await settle(life)
    assert (cluster.status()["restarts"], cluster.status()["attempt"]) == (1, 1)


@leaping_time
async def test_the_end_is_in_status_before_the_pods_that_still_run_are_deleted() -> None:
    cluster = new_cluster()
    life = await running(cluster, backoff_limit=0)
    cluster.finish_pod(cluster.pod(0, 1), exit_code=7)
    await settle(life)
    (deletion,) = (e for e in cluster.effects if e.method == "delete_pod")
    assert deletion.object["metadata"]["name"] == cluster.pod(0, 0)["metadata"]["name"]
    assert deletion.job_status["phase"] == "Failed"
    assert cluster.status()["exitCode"] == 7


@leaping_time
async def test_a_deletion_that_failed_is_repeated_only_after_a_live_read() -> None:
    cluster = new_cluster()
    life = await running(cluster, backoff_limit=0)
    cluster.finish_pod(cluster.pod(0, 1), exit_code=7)
    await echo()
    cluster.fail_next("delete_pod", OUTAGE)
    with suppress(KubernetesError):
        await life.reconciler.reconcile(KEY)
    cluster.calls.clear()
    await life.reconciler.reconcile(KEY)
    assert methods(cluster) == ["get_job", "delete_pod"]


@leaping_time
async def test_a_pod_that_may_not_be_deleted_does_not_keep_the_others_alive() -> None:
    cluster = new_cluster()
    life = await running(cluster, nodes=40)
    cluster.fail_next("delete_pod", ForbiddenError("protected by somebody's webhook", status=403))
    cluster.edit_job(shutdown="Stop")
    with pytest.raises(ForbiddenError):
        await settle(life)
    await echo()
    stopping = ["deletionTimestamp" in pod["metadata"] for pod in cluster.pods()]
    assert stopping.count(False) == 1


@leaping_time
async def test_a_deletion_that_fails_leaves_no_other_one_on_its_way() -> None:
    cluster = new_cluster()
    life = await running(cluster, nodes=4)
    delete_pod, under_way = cluster.delete_pod, 0

    async def delete_slowly(namespace: str, name: str, **options: Any) -> None:
        nonlocal under_way
        under_way += 1
        if not name.endswith("-0"):
            await asyncio.sleep(5)
        try:
            await delete_pod(namespace, name, **options)
        finally:
            under_way -= 1

    cluster.delete_pod = delete_slowly  # type: ignore[method-assign]
    cluster.fail_next("delete_pod", OUTAGE)
    cluster.edit_job(shutdown="Stop")
    with pytest.raises(UnavailableError):
        await settle(life)
    assert under_way == 0


@leaping_time
async def test_a_pod_that_is_being_deleted_is_not_asked_to_go_again() -> None:
    cluster = new_cluster()
    life = await running(cluster)
    cluster.pod_watch.hold()
    cluster.edit_job(suspend=True)
    await settle(life)
    await life.reconciler.reconcile(KEY)
    assert Counter(methods(cluster))["delete_pod"] == 2


# --- rule 2: every rank is remembered ---------------------------------------------------------


@leaping_time
async def test_an_attempt_counts_as_launched_only_when_its_last_pod_is_created() -> None:
    cluster = new_cluster()
    life = await by_hand(cluster)
    cluster.create_job(make_job(nodes=2))
    await echo()
    cluster.before["create_pod"] = lambda: cluster.before.update(
        {"create_pod": lambda: cluster.fail_next("create_pod", OUTAGE)}
    )
    with suppress(KubernetesError):
        await life.reconciler.reconcile(KEY)
    assert len(cluster.pods()) == 1
    assert "launchedAttempt" not in cluster.status()
    cluster.calls.clear()
    await settle(life)
    assert Counter(methods(cluster))["create_pod"] == 1, "only the missing one"
    assert cluster.status()["launchedAttempt"] == 0


@leaping_time
async def test_a_rank_that_is_done_is_not_run_again_when_its_pod_is_gone() -> None:
    cluster = new_cluster()
    life = await running(cluster)
    cluster.finish_pod(cluster.pod(0, 0))
    await settle(life)
    await asyncio.sleep(2)
    await settle(life)
    assert cluster.status()["completedIndexes"] == "0"
    cluster.lose_pod(cluster.pod(0, 0))
    await settle(life)
    cluster.finish_pod(cluster.pod(0, 1))
    await settle(life)
    assert cluster.status()["phase"] == "Succeeded"
    assert Counter(methods(cluster))["create_pod"] == 2


@leaping_time
async def test_a_rank_whose_last_news_is_that_it_was_done_when_it_went_is_done() -> None:
    cluster = new_cluster()
    life = await running(cluster, nodes=1)
    cluster.pod_watch.hold()
    cluster.finish_pod(cluster.pod())
    cluster.lose_pod(cluster.pod())
    del cluster.pod_watch.pending[0]  # the change is never reported, only the end
    cluster.pod_watch.release()
    await settle(life)
    assert cluster.status()["phase"] == "Succeeded"


@leaping_time
async def test_a_lost_rank_restarts_all_ranks_and_spends_no_try() -> None:
    cluster = new_cluster()
    async with operated(cluster, lambda attempt, rank: None):
        cluster.create_job(make_job(nodes=3, backoff_limit=0))
        await asyncio.sleep(10)
        cluster.lose_pod(cluster.pod(0, 1))
        await asyncio.sleep(60)
        status = cluster.status()
    assert (status["attempt"], status["restarts"], status["disruptions"]) == (1, 0, 1)
    assert conditions(cluster)["Restarting"] == ("False", "Restarted")
    assert status["ready"] == 3


@leaping_time
async def test_a_lost_rank_that_no_watch_reports_is_found_by_the_resync() -> None:
    cluster = new_cluster()
    async with operated(cluster, lambda attempt, rank: None, interval_s=60.0):
        cluster.create_job(make_job(nodes=2))
        await asyncio.sleep(10)
        cluster.pod_watch.hold()
        cluster.lose_pod(cluster.pod(0, 1))
        cluster.pod_watch.drop()
        cluster.pod_watch.release()
        await asyncio.sleep(120)
    assert cluster.status()["disruptions"] == 1


@leaping_time
async def test_pods_that_the_watch_has_not_told_of_yet_are_looked_for_before_they_count_as_lost() -> (
    None
):
    cluster = new_cluster()
    await running(cluster)
    cluster.disconnect()
    life = OperatorLife(cluster)
    cluster.pod_watch.hold()
    cluster.connect(life.intake)
    cluster.calls.clear()
    await settle(life)
    assert methods(cluster) == ["list_pods"]
    assert cluster.status()["disruptions"] == 0


# --- rule 3: every gang start is a new attempt; adoption --------------------------------------


@leaping_time
async def test_a_pod_whose_creation_was_not_answered_is_adopted() -> None:
    cluster = new_cluster()
    life = await by_hand(cluster)
    cluster.pod_watch.hold()
    cluster.create_job(make_job())
    await echo()
    cluster.fail_next("create_pod", OUTAGE, after=True)
    with suppress(KubernetesError):
        await life.reconciler.reconcile(KEY)
    created = cluster.pod()
    await settle(life)
    assert cluster.pod()["metadata"]["uid"] == created["metadata"]["uid"]
    assert methods(cluster)[-4:] == ["get_job", "create_pod", "get_pod", "patch_job_status"]
    assert cluster.status()["launchedAttempt"] == 0


async def _with_a_pod_in_the_way(change: Callable[[Object, Object], None]) -> FakeCluster:
    """A job whose pod's name is taken by a pod that differs from its own in one thing."""
    donor = new_cluster()
    await running(donor, nodes=1)
    cluster = new_cluster()
    life = await by_hand(cluster)
    cluster.pod_watch.hold()
    job = cluster.create_job(make_job())
    pod = donor.pod()
    change(pod, job)
    cluster.create_foreign("pods", pod)
    await settle(life)
    return cluster


@leaping_time
async def test_a_pod_of_another_owner_is_neither_adopted_nor_deleted() -> None:
    def is_owned_by_another(pod: Object, job: Object) -> None:
        pod["metadata"]["ownerReferences"][0]["uid"] = "another"

    cluster = await _with_a_pod_in_the_way(is_owned_by_another)
    assert conditions(cluster)["PodsReady"] == ("False", "PodNameConflict")
    assert "delete_pod" not in methods(cluster)
    assert "launchedAttempt" not in cluster.status()


@leaping_time
async def test_a_pod_made_from_another_template_is_not_adopted() -> None:
    def is_made_from_another_template(pod: Object, job: Object) -> None:
        pod["metadata"]["annotations"][ANNOTATION_TEMPLATE_HASH] = "0" * 16

    cluster = await _with_a_pod_in_the_way(is_made_from_another_template)
    assert conditions(cluster)["PodsReady"] == ("False", "PodNameConflict")
    assert "launchedAttempt" not in cluster.status()


@leaping_time
async def test_a_pod_that_is_the_same_is_adopted() -> None:
    cluster = await _with_a_pod_in_the_way(lambda pod, job: None)
    assert cluster.status()["launchedAttempt"] == 0


@leaping_time
async def test_a_pod_that_is_terminating_is_not_taken_for_the_attempts_own() -> None:
    cluster = new_cluster()
    life = await by_hand(cluster)
    cluster.pod_watch.hold()
    cluster.create_job(make_job())
    await echo()
    cluster.fail_next("create_pod", OUTAGE, after=True)
    with suppress(KubernetesError):
        await life.reconciler.reconcile(KEY)
    cluster.run_pod(cluster.pod())
    cluster.delete_pod_as_user(cluster.pod())
    await settle(life)
    assert (cluster.status()["attempt"], cluster.status()["disruptions"]) == (1, 1)


@leaping_time
async def test_a_resume_is_a_new_attempt_that_counts_as_no_restart() -> None:
    cluster = new_cluster()
    async with operated(cluster, lambda attempt, rank: None):
        cluster.create_job(make_job(nodes=2))
        await asyncio.sleep(10)
        cluster.edit_job(suspend=True)
        await asyncio.sleep(60)
        assert cluster.pods() == []
        assert conditions(cluster)["Suspended"] == ("True", "Suspended")
        cluster.edit_job(suspend=False)
        await asyncio.sleep(60)
    status = cluster.status()
    assert (status["attempt"], status["restarts"], status["disruptions"]) == (1, 0, 0)
    assert status["ready"] == 2


@leaping_time
async def test_no_pod_of_the_next_attempt_is_created_before_the_last_one_is_gone() -> None:
    cluster = new_cluster()
    life = await running(cluster)
    cluster.finish_pod(cluster.pod(0, 0), exit_code=1)
    await settle(life)
    await asyncio.sleep(20)  # the back-off is over, and rank 1 still ends
    await settle(life)
    assert names(cluster.pods()) == [cluster.pod(0, 1)["metadata"]["name"]]
    cluster.reap()
    await settle(life)
    assert len(cluster.pods()) == 2
    assert cluster.status()["launchedAttempt"] == 1


# --- rule 4: fresh enough to act --------------------------------------------------------------


@leaping_time
async def test_a_job_that_was_suspended_a_moment_ago_is_not_started_again() -> None:
    cluster = new_cluster()
    life = await running(cluster, nodes=1)
    cluster.lose_pod(cluster.pod())
    await settle(life)
    assert conditions(cluster)["Restarting"] == ("True", "PodLost")
    cluster.job_watch.hold()
    cluster.edit_job(suspend=True)
    await asyncio.sleep(60)  # the wait before the restart is over
    cluster.calls.clear()
    await settle(life)
    assert methods(cluster) == ["get_job", "patch_job_status"]
    assert cluster.status()["phase"] == "Suspended"


@leaping_time
async def test_a_job_that_was_announced_long_ago_is_read_before_it_is_started() -> None:
    cluster = new_cluster()
    life = await by_hand(cluster)
    cluster.create_job(make_job())
    await echo()
    cluster.job_watch.hold()
    cluster.edit_job(suspend=True)
    await asyncio.sleep(FRESH_S + 1)
    await settle(life)
    assert methods(cluster) == ["get_job", "patch_job_status"]
    assert cluster.status()["phase"] == "Suspended"


@leaping_time
async def test_a_job_that_has_changed_since_it_was_announced_is_read_before_it_is_started() -> (
    None
):
    cluster = new_cluster()
    life = await by_hand(cluster)
    cluster.create_job(make_job())
    await echo()
    cluster.edit_job(backoffLimit=1)
    await settle(life)
    assert methods(cluster)[:2] == ["get_job", "create_pod"]


@leaping_time
async def test_a_job_that_was_there_before_the_operator_is_read_before_it_is_started() -> None:
    cluster = new_cluster()
    cluster.create_job(make_job())
    async with OperatorLife(cluster):
        await asyncio.sleep(1)
    assert methods(cluster).index("get_job") < methods(cluster).index("create_pod")


@leaping_time
async def test_a_job_that_is_suspended_before_it_is_started_loses_its_pod_again() -> None:
    """The watch lags behind: the start is seen through by the precondition of its record."""
    cluster = new_cluster()
    life = await by_hand(cluster)
    cluster.create_job(make_job())
    await echo()
    cluster.job_watch.hold()
    cluster.edit_job(suspend=True)
    await settle(life)
    assert cluster.pods() == []
    assert cluster.status()["phase"] == "Suspended"
    assert cluster.status()["attempt"] == 1, "attempt 0 may have run"


@leaping_time
async def test_a_job_that_is_suspended_while_its_pod_is_created_loses_it_again() -> None:
    cluster = new_cluster()
    life = await by_hand(cluster)
    cluster.create_job(make_job())
    await echo()
    cluster.before["create_pod"] = lambda: cluster.edit_job(suspend=True)
    await settle(life)
    assert cluster.pods() == []
    assert cluster.status()["phase"] == "Suspended"
    assert cluster.status()["attempt"] == 1, "attempt 0 may have run"


@leaping_time
async def test_a_job_that_is_deleted_while_its_pod_is_created_leaves_nothing_in_the_index() -> (
    None
):
    cluster = new_cluster()
    life = await by_hand(cluster)
    cluster.create_job(make_job())
    await echo()
    cluster.job_watch.hold()
    cluster.before["create_pod"] = cluster.delete_job
    await settle(life)
    assert KEY not in life.index


@leaping_time
async def test_the_end_of_the_old_job_may_be_told_after_the_birth_of_its_namesake() -> None:
    cluster = new_cluster()
    async with operated(cluster):
        cluster.create_job(make_job())
        await asyncio.sleep(1)
        cluster.job_watch.hold()
        cluster.delete_job()
        second = cluster.create_job(make_job())
        cluster.job_watch.pending.reverse()
        cluster.job_watch.release()
        await asyncio.sleep(60)
    assert cluster.job()["metadata"]["uid"] == second["metadata"]["uid"]
    assert cluster.status()["phase"] == "Succeeded"


@leaping_time
async def test_a_namesake_gets_pods_of_its_own_at_once() -> None:
    cluster = new_cluster()
    async with operated(cluster, lambda attempt, rank: None):
        first = cluster.create_job(make_job(nodes=2))
        await asyncio.sleep(10)
        cluster.delete_job()
        second = cluster.create_job(make_job(nodes=2))
        await asyncio.sleep(10)
        owners = {p["metadata"]["ownerReferences"][0]["uid"] for p in cluster.pods()}
        assert owners == {second["metadata"]["uid"]}
        assert cluster.status()["ready"] == 2
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    assert (cluster.status()["attempt"], cluster.status()["disruptions"]) == (0, 0)


@leaping_time
async def test_a_verdict_on_the_old_job_is_not_written_to_its_namesake() -> None:
    cluster = new_cluster()
    life = await running(cluster, nodes=1)
    cluster.finish_pod(cluster.pod())
    await echo()

    def replace() -> None:
        cluster.delete_job()
        cluster.create_job(make_job())

    cluster.before["patch_job_status"] = replace
    await life.reconciler.reconcile(KEY)
    assert cluster.status() == {}
    await settle(life)
    assert cluster.status()["phase"] == "Pending"


@leaping_time
async def test_echoes_that_come_late_and_twice_change_nothing() -> None:
    cluster = new_cluster()
    life = await by_hand(cluster)
    cluster.create_job(make_job())
    await echo()
    cluster.job_watch.hold()
    cluster.pod_watch.hold()
    await life.reconciler.reconcile(KEY)
    cluster.run_pod(cluster.pod())
    cluster.job_watch.duplicate()
    cluster.pod_watch.duplicate()
    cluster.pod_watch.release()
    await asyncio.sleep(PROGRESS_EVERY_S)
    await settle(life)
    cluster.calls.clear()
    cluster.job_watch.release()
    await settle(life)
    assert cluster.calls == []
    assert cluster.status()["phase"] == "Running"


@leaping_time
async def test_an_answer_that_comes_after_the_pods_end_does_not_bring_it_back() -> None:
    cluster = new_cluster()
    life = await by_hand(cluster)
    cluster.create_job(make_job(nodes=1))
    await echo()
    create = cluster.create_pod

    async def answer_slowly(manifest: Object) -> Object:
        created = await create(manifest)
        cluster.lose_pod(created)
        await echo()  # ADDED and DELETED overtake the answer
        return created

    cluster.create_pod = answer_slowly  # type: ignore[method-assign]
    await settle(life)
    assert cluster.status()["disruptions"] == 1


@leaping_time
async def test_progress_waits_for_longer_while_writes_are_slow_and_its_end_for_nothing() -> None:
    cluster = new_cluster()
    write = cluster.patch_job_status

    async def write_slowly(key: Any, patch: Object) -> Object | None:
        await asyncio.sleep(2)
        return await write(key, patch)

    cluster.patch_job_status = write_slowly  # type: ignore[method-assign]
    life = await by_hand(cluster)
    cluster.create_job(make_job())
    await settle(life)
    cluster.run_pod(cluster.pod())
    await echo()
    wait = await life.reconciler.reconcile(KEY)
    assert wait is not None
    assert wait > 2 * PROGRESS_EVERY_S
    cluster.finish_pod(cluster.pod())
    await settle(life)
    assert cluster.status()["phase"] == "Succeeded"


# --- rule 5: one writer, whose writes take effect on what they were decided on -----------------


@leaping_time
async def test_a_decision_on_a_job_that_has_changed_is_made_again() -> None:
    cluster = new_cluster()
    life = await running(cluster, nodes=1)
    cluster.finish_pod(cluster.pod(), exit_code=1)
    await echo()
    cluster.job_watch.hold()
    cluster.before["patch_job_status"] = lambda: cluster.edit_job(backoffLimit=0)
    assert await life.reconciler.reconcile(KEY) == 0
    assert cluster.status()["restarts"] == 0
    await settle(life)
    assert conditions(cluster)["Failed"] == ("True", "BackoffLimitExceeded")


@leaping_time
async def test_fields_of_status_that_are_not_ours_stay() -> None:
    cluster = new_cluster()
    life = await running(cluster, nodes=1)
    await cluster.patch_job_status(KEY, {"status": {"logs": {"path": "job_1", "bytes": 7}}})
    cluster.finish_pod(cluster.pod())
    await settle(life)
    assert cluster.status()["logs"] == {"path": "job_1", "bytes": 7}
    assert cluster.status()["phase"] == "Succeeded"


# --- rule 8: success is to finish before being asked to stop ----------------------------------


async def _exits_0_after(ask: Callable[[FakeCluster], object]) -> FakeCluster:
    cluster = new_cluster()
    life = await running(cluster, nodes=1)
    ask(cluster)
    await settle(life)
    await asyncio.sleep(3)
    cluster.finish_pod(cluster.pod(), exit_code=0)
    await settle(life)
    cluster.reap()
    await settle(life)
    return cluster


@leaping_time
async def test_a_pod_that_exits_0_because_of_a_suspension_has_not_completed() -> None:
    cluster = await _exits_0_after(lambda c: c.edit_job(suspend=True))
    assert cluster.status()["phase"] == "Suspended"


@leaping_time
async def test_a_pod_that_exits_0_because_of_a_shutdown_has_not_completed() -> None:
    cluster = await _exits_0_after(lambda c: c.edit_job(shutdown="Stop"))
    assert conditions(cluster)["Cancelled"] == ("True", "Stopped")
    assert "Complete" not in conditions(cluster)


@leaping_time
async def test_a_pod_that_exits_0_because_it_was_deleted_was_disrupted() -> None:
    cluster = await _exits_0_after(lambda c: c.delete_pod_as_user(c.pod()))
    assert cluster.status()["disruptions"] == 1


@leaping_time
async def test_a_pod_that_was_done_before_the_shutdown_has_completed() -> None:
    cluster = new_cluster()
    life = await running(cluster, nodes=1)
    cluster.finish_pod(cluster.pod())
    cluster.edit_job(shutdown="Stop")
    await settle(life)
    assert conditions(cluster)["Complete"] == ("True", "CompletionsReached")


@leaping_time
async def test_an_evicted_rank_is_a_disruption_and_its_failed_peer_no_restart() -> None:
    cluster = new_cluster()
    life = await running(cluster)
    cluster.evict_pod(cluster.pod(0, 0))
    await settle(life)
    status = cluster.status()
    assert (status["restarts"], status["disruptions"]) == (0, 1)
    assert conditions(cluster)["Restarting"] == ("True", "Evicted")


# --- rule 9: shutdown is latched --------------------------------------------------------------


@leaping_time
async def test_removing_the_shutdown_does_not_bring_the_job_back() -> None:
    cluster = new_cluster()
    life = await running(cluster)
    cluster.edit_job(shutdown="Stop")
    await settle(life)
    cluster.edit_job(shutdown=None)
    await settle(life)
    cluster.reap()
    await settle(life)
    assert conditions(cluster)["Cancelled"] == ("True", "Stopped")
    assert cluster.pods() == []


@leaping_time
async def test_the_latch_is_in_status_before_the_pods_are_asked_to_stop() -> None:
    cluster = new_cluster()
    life = await running(cluster)
    cluster.edit_job(shutdown="Stop")
    await settle(life)
    deletions = [e for e in cluster.effects if e.method == "delete_pod"]
    assert [e.job_status["shutdown"]["mode"] for e in deletions] == ["Stop", "Stop"]


@leaping_time
async def test_a_stop_that_becomes_a_terminate_hastens_the_pods() -> None:
    cluster = new_cluster()
    life = await running(cluster, nodes=1)
    cluster.edit_job(shutdown="Stop")
    await settle(life)
    assert cluster.pod()["metadata"]["deletionGracePeriodSeconds"] == 30
    cluster.edit_job(shutdown="Terminate")
    await settle(life)
    assert cluster.pod()["metadata"]["deletionGracePeriodSeconds"] == 1


# --- refusals: asked about at most once a minute, whatever comes in ---------------------------


async def _refused_for_ten_minutes(cluster: FakeCluster) -> int:
    """How often a pod is asked for while its job changes every second; then all is well."""
    async with OperatorLife(cluster):
        cluster.create_job(make_job())
        for second in range(600):
            cluster.edit_job(ttlSecondsAfterFinished=second)
            await asyncio.sleep(1)
        return Counter(methods(cluster))["create_pod"]


@leaping_time
async def test_a_quota_is_asked_once_a_minute_and_no_job_fails_of_it() -> None:
    cluster = new_cluster()
    cluster.pod_quota = 0
    assert 10 <= await _refused_for_ten_minutes(cluster) <= 11
    assert conditions(cluster)["PodsReady"] == ("False", "QuotaExceeded")
    assert cluster.status()["phase"] == "Pending"
    assert "startTime" not in cluster.status()


@leaping_time
async def test_an_admission_that_says_no_is_asked_once_a_minute() -> None:
    cluster = new_cluster()
    denied = ForbiddenError("violates PodSecurity", status=403)
    cluster.fail_next("create_pod", denied, times=float("inf"))
    assert 10 <= await _refused_for_ten_minutes(cluster) <= 11
    assert conditions(cluster)["PodsReady"] == ("False", "Forbidden")


@leaping_time
async def test_a_raised_quota_starts_the_job_within_a_minute() -> None:
    cluster = new_cluster()
    cluster.pod_quota = 1
    async with OperatorLife(cluster):
        cluster.create_job(make_job(nodes=2))
        await asyncio.sleep(125)
        assert len(cluster.pods()) == 1
        cluster.pod_quota = 2
        await asyncio.sleep(61)
    assert len(cluster.pods()) == 2
    assert cluster.status()["launchedAttempt"] == 0


@leaping_time
async def test_a_refused_job_of_a_thousand_ranks_costs_one_request_for_a_pod() -> None:
    cluster = new_cluster()
    cluster.pod_quota = 0
    async with OperatorLife(cluster):
        cluster.create_job(make_job(nodes=1000))
        await asyncio.sleep(30)
    assert Counter(methods(cluster))["create_pod"] == 1


@leaping_time
async def test_a_pod_that_can_never_be_created_fails_its_job_at_once() -> None:
    cluster = new_cluster()
    cluster.fail_next("create_pod", InvalidError("spec.nodeName: Invalid value", status=422))
    async with OperatorLife(cluster):
        cluster.create_job(make_job())
        await asyncio.sleep(2)
    assert conditions(cluster)["Failed"] == ("True", "InvalidPodTemplate")


@leaping_time
async def test_a_foreign_service_is_a_condition_and_not_a_crash() -> None:
    cluster = new_cluster()
    async with OperatorLife(cluster):
        job = cluster.create_job(make_job(nodes=2, suspend=True))
        name = pod_name("mnist", job["metadata"]["uid"], 0, 0).removesuffix("-0-0")
        cluster.create_foreign("services", {"metadata": {"name": name, "namespace": "ml"}})
        cluster.edit_job(suspend=False)
        await asyncio.sleep(2)
    assert conditions(cluster)["PodsReady"] == ("False", "ServiceNameConflict")
    assert cluster.pods() == []


@leaping_time
async def test_a_service_whose_creation_was_not_answered_is_taken_as_ours() -> None:
    cluster = new_cluster()
    cluster.fail_next("create_service", OUTAGE, after=True)
    async with operated(cluster):
        cluster.create_job(make_job(nodes=2))
        await asyncio.sleep(30)
    assert cluster.status()["phase"] == "Succeeded"


@leaping_time
async def test_a_sick_api_server_fails_no_job() -> None:
    cluster = new_cluster()
    for method in ("get_job", "create_pod", "patch_job_status"):
        cluster.fail_next(method, OUTAGE, times=2)
        cluster.fail_next(method, OUTAGE, times=1, after=True)
    cluster.fail_next("patch_job_status", ConflictError("changed", status=409), times=3)
    async with operated(cluster):
        cluster.create_job(make_job())
        await asyncio.sleep(300)
    status = cluster.status()
    assert (status["phase"], status["restarts"], status["attempt"]) == ("Succeeded", 0, 0)


@leaping_time
async def test_a_conflict_that_never_ends_is_no_hot_loop() -> None:
    cluster = new_cluster()
    conflict = ConflictError("changed, or so it says", status=409)
    cluster.fail_next("patch_job_status", conflict, times=10_000)
    async with operated(cluster):
        cluster.create_job(make_job())
        await asyncio.sleep(300)
    assert 5 < methods(cluster).count("patch_job_status") < 30


@leaping_time
async def test_a_pod_whose_labels_somebody_alters_makes_no_hot_loop() -> None:
    cluster = new_cluster()
    create_pod = cluster.create_pod

    async def create_as_rank_0(manifest: Object) -> Object:
        manifest["metadata"]["labels"]["trainingjob.dev/index"] = "0"
        return await create_pod(manifest)

    cluster.create_pod = create_as_rank_0  # type: ignore[method-assign]
    async with operated(cluster, lambda attempt, rank: None):
        cluster.create_job(make_job(nodes=2))
        await asyncio.sleep(300)
    assert len(cluster.pods()) == 2
    assert methods(cluster).count("create_pod") < 30


# --- rule 13: the index is bounded ------------------------------------------------------------


@leaping_time
async def test_a_job_for_which_the_index_has_no_room_waits_visibly() -> None:
    cluster = new_cluster()
    async with operated(cluster, lambda attempt, rank: None, max_jobs=1) as life:
        cluster.create_job(make_job("first"))
        await asyncio.sleep(5)
        cluster.create_job(make_job("second"))
        await asyncio.sleep(5)
        assert len(life.index) == 1
    assert conditions(cluster, "second")["PodsReady"] == ("False", "Queued")
    assert [pod["metadata"]["name"].split("-")[0] for pod in cluster.pods()] == ["first"]


@leaping_time
async def test_a_waiting_job_is_admitted_as_soon_as_a_job_has_finished() -> None:
    cluster = new_cluster()
    async with operated(cluster, max_jobs=1):
        for name in ("first", "second"):
            cluster.create_job(make_job(name))
        await asyncio.sleep(30)
    assert cluster.status("second")["phase"] == "Succeeded", "long before a resync"


@leaping_time
async def test_of_the_waiting_jobs_the_oldest_is_admitted_first() -> None:
    cluster = new_cluster()
    async with operated(cluster, lambda attempt, rank: None, max_jobs=1):
        for name in ("running", "z-older", "a-newer"):
            cluster.create_job(make_job(name))
            await asyncio.sleep(2)
        cluster.edit_job("a-newer", backoffLimit=1)
        cluster.delete_job("running")
        await asyncio.sleep(5)
    assert cluster.status("z-older")["phase"] == "Running"
    assert conditions(cluster, "a-newer")["PodsReady"] == ("False", "Queued")


@leaping_time
async def test_a_job_that_comes_when_room_is_made_does_not_jump_the_line() -> None:
    cluster = new_cluster()
    async with operated(cluster, lambda attempt, rank: None, max_jobs=1):
        for name in ("running", "waiting"):
            cluster.create_job(make_job(name))
            await asyncio.sleep(2)
        cluster.delete_job("running")
        cluster.create_job(make_job("latecomer"))
        await asyncio.sleep(5)
    assert cluster.status("waiting")["phase"] == "Running"
    assert conditions(cluster, "latecomer")["PodsReady"] == ("False", "Queued")


@leaping_time
async def test_a_job_that_went_while_it_waited_holds_up_nobody() -> None:
    cluster = new_cluster()
    async with operated(cluster, lambda attempt, rank: None, max_jobs=1) as life:
        for name in ("running", "told", "untold", "last"):
            cluster.create_job(make_job(name))
            await asyncio.sleep(2)
        cluster.delete_job("told")
        await echo()
        cluster.job_watch.hold()
        cluster.delete_job("untold")
        cluster.job_watch.drop()
        cluster.job_watch.release()
        cluster.delete_job("running")
        await asyncio.sleep(5)
        assert len(life.index.waiting) == 0
    assert cluster.status("last")["phase"] == "Running"


@leaping_time
async def test_jobs_that_wait_and_say_so_cost_no_requests_but_the_resyncs_lists() -> None:
    cluster = new_cluster()
    async with operated(cluster, lambda attempt, rank: None, max_jobs=1, interval_s=60.0):
        for number in range(20):
            cluster.create_job(make_job(f"job-{number}"))
        await asyncio.sleep(30)
        cluster.calls.clear()
        await asyncio.sleep(600)
    assert set(methods(cluster)) == {"list_jobs", "list_pods"}
