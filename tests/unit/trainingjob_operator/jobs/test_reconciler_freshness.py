"""Rules 4 and 5: fresh enough to act, and one writer of status."""

import asyncio
from typing import Any

from tests.support.builders import make_job
from tests.support.cluster.reconcile_passes import (
    KEY,
    Object,
    called_methods,
    conditions,
    deliver_watch_events,
    manual_operator,
    new_cluster,
    operator_with_running_job,
    reconcile_until_settled,
    running_operator,
)
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import in_simulated_time
from trainingjob_operator.jobs.starter import FRESH_S
from trainingjob_operator.jobs.status_throttle import PROGRESS_EVERY_S

# --- rule 4: fresh enough to act ------------------------------------------------------------------


@in_simulated_time
async def test_a_job_that_was_suspended_a_moment_ago_is_not_started_again() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster, nodes=1)
    cluster.lose_pod(cluster.pod())
    await reconcile_until_settled(life)
    assert conditions(cluster)["Restarting"] == ("True", "PodLost")
    cluster.job_watch.hold()
    cluster.edit_job(suspend=True)
    await asyncio.sleep(60)  # the wait before the restart is over
    cluster.calls.clear()
    await reconcile_until_settled(life)
    assert called_methods(cluster) == ["get_job", "patch_job_status"]
    assert cluster.status()["phase"] == "Suspended"


@in_simulated_time
async def test_a_job_that_was_announced_long_ago_is_read_before_it_is_started() -> None:
    cluster = new_cluster()
    life = await manual_operator(cluster)
    cluster.create_job(make_job())
    await deliver_watch_events()
    cluster.job_watch.hold()
    cluster.edit_job(suspend=True)
    await asyncio.sleep(FRESH_S + 1)
    await reconcile_until_settled(life)
    assert called_methods(cluster) == ["get_job", "patch_job_status"]
    assert cluster.status()["phase"] == "Suspended"


@in_simulated_time
async def test_a_job_that_has_changed_since_it_was_announced_is_read_before_it_is_started() -> (
    None
):
    cluster = new_cluster()
    life = await manual_operator(cluster)
    cluster.create_job(make_job())
    await deliver_watch_events()
    cluster.edit_job(backoffLimit=1)
    await reconcile_until_settled(life)
    assert called_methods(cluster)[:2] == ["get_job", "create_pod"]


@in_simulated_time
async def test_a_job_that_was_there_before_the_operator_is_read_before_it_is_started() -> None:
    cluster = new_cluster()
    cluster.create_job(make_job())
    async with SimulatedOperator(cluster):
        await asyncio.sleep(1)
    assert called_methods(cluster).index("get_job") < called_methods(cluster).index("create_pod")


@in_simulated_time
async def test_a_job_that_is_suspended_before_it_is_started_loses_its_pod_again() -> None:
    """The watch lags behind: the start is seen through by the precondition of its record."""
    cluster = new_cluster()
    life = await manual_operator(cluster)
    cluster.create_job(make_job())
    await deliver_watch_events()
    cluster.job_watch.hold()
    cluster.edit_job(suspend=True)
    await reconcile_until_settled(life)
    assert cluster.pods() == []
    assert cluster.status()["phase"] == "Suspended"
    assert cluster.status()["attempt"] == 1, "attempt 0 may have run"


@in_simulated_time
async def test_a_job_that_is_suspended_while_its_pod_is_created_loses_it_again() -> None:
    cluster = new_cluster()
    life = await manual_operator(cluster)
    cluster.create_job(make_job())
    await deliver_watch_events()
    cluster.before["create_pod"] = lambda: cluster.edit_job(suspend=True)
    await reconcile_until_settled(life)
    assert cluster.pods() == []
    assert cluster.status()["phase"] == "Suspended"
    assert cluster.status()["attempt"] == 1, "attempt 0 may have run"


@in_simulated_time
async def test_a_job_that_is_deleted_while_its_pod_is_created_leaves_nothing_in_the_index() -> (
    None
):
    cluster = new_cluster()
    life = await manual_operator(cluster)
    cluster.create_job(make_job())
    await deliver_watch_events()
    cluster.job_watch.hold()
    cluster.before["create_pod"] = cluster.delete_job
    await reconcile_until_settled(life)
    assert KEY not in life.index


@in_simulated_time
async def test_the_deletion_of_the_old_job_may_be_reported_after_it_was_recreated() -> None:
    cluster = new_cluster()
    async with running_operator(cluster):
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


@in_simulated_time
async def test_a_namesake_gets_pods_of_its_own_at_once() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, lambda attempt, rank: None):
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


@in_simulated_time
async def test_a_verdict_on_the_old_job_is_not_written_to_its_namesake() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster, nodes=1)
    cluster.finish_pod(cluster.pod())
    await deliver_watch_events()

    def replace() -> None:
        cluster.delete_job()
        cluster.create_job(make_job())

    cluster.before["patch_job_status"] = replace
    await life.reconciler.reconcile(KEY)
    assert cluster.status() == {}
    await reconcile_until_settled(life)
    assert cluster.status()["phase"] == "Pending"


@in_simulated_time
async def test_echoes_that_come_late_and_twice_change_nothing() -> None:
    cluster = new_cluster()
    life = await manual_operator(cluster)
    cluster.create_job(make_job())
    await deliver_watch_events()
    cluster.job_watch.hold()
    cluster.pod_watch.hold()
    await life.reconciler.reconcile(KEY)
    cluster.run_pod(cluster.pod())
    cluster.job_watch.duplicate()
    cluster.pod_watch.duplicate()
    cluster.pod_watch.release()
    await asyncio.sleep(PROGRESS_EVERY_S)
    await reconcile_until_settled(life)
    cluster.calls.clear()
    cluster.job_watch.release()
    await reconcile_until_settled(life)
    assert cluster.calls == []
    assert cluster.status()["phase"] == "Running"


@in_simulated_time
async def test_an_answer_that_comes_after_the_pods_end_does_not_bring_it_back() -> None:
    cluster = new_cluster()
    life = await manual_operator(cluster)
    cluster.create_job(make_job(nodes=1))
    await deliver_watch_events()
    create = cluster.create_pod

    async def answer_slowly(manifest: Object) -> Object:
        created = await create(manifest)
        cluster.lose_pod(created)
        await deliver_watch_events()  # ADDED and DELETED overtake the answer
        return created

    cluster.create_pod = answer_slowly  # type: ignore[method-assign]
    await reconcile_until_settled(life)
    assert cluster.status()["disruptions"] == 1


@in_simulated_time
async def test_progress_waits_for_longer_while_writes_are_slow_and_its_end_for_nothing() -> None:
    cluster = new_cluster()
    write = cluster.patch_job_status

    async def write_slowly(key: Any, patch: Object) -> Object | None:
        await asyncio.sleep(2)
        return await write(key, patch)

    cluster.patch_job_status = write_slowly  # type: ignore[method-assign]
    life = await manual_operator(cluster)
    cluster.create_job(make_job())
    await reconcile_until_settled(life)
    cluster.run_pod(cluster.pod())
    await deliver_watch_events()
    wait = await life.reconciler.reconcile(KEY)
    assert wait is not None
    assert wait > 2 * PROGRESS_EVERY_S
    cluster.finish_pod(cluster.pod())
    await reconcile_until_settled(life)
    assert cluster.status()["phase"] == "Succeeded"


# --- rule 5: one writer, whose writes take effect on what they were decided on --------------------


@in_simulated_time
async def test_a_decision_on_a_job_that_has_changed_is_made_again() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster, nodes=1)
    cluster.finish_pod(cluster.pod(), exit_code=1)
    await deliver_watch_events()
    cluster.job_watch.hold()
    cluster.before["patch_job_status"] = lambda: cluster.edit_job(backoffLimit=0)
    assert await life.reconciler.reconcile(KEY) == 0
    assert cluster.status()["restarts"] == 0
    await reconcile_until_settled(life)
    assert conditions(cluster)["Failed"] == ("True", "BackoffLimitExceeded")


@in_simulated_time
async def test_fields_of_status_that_are_not_ours_stay() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster, nodes=1)
    await cluster.patch_job_status(KEY, {"status": {"logs": {"path": "job_1", "bytes": 7}}})
    cluster.finish_pod(cluster.pod())
    await reconcile_until_settled(life)
    assert cluster.status()["logs"] == {"path": "job_1", "bytes": 7}
    assert cluster.status()["phase"] == "Succeeded"
