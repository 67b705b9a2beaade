"""Rule 1: status is the write-ahead record, with the interleavings that it prevents."""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from tests.support.cluster.reconcile_passes import (
    KEY,
    OUTAGE,
    called_methods,
    deliver_watch_events,
    new_cluster,
    operator_with_running_job,
    reconcile_until_settled,
)
from tests.support.cluster.simulated_time import in_simulated_time
from trainingjob_api.errors import (
    ForbiddenError,
    KubernetesError,
    UnavailableError,
)


@in_simulated_time
async def test_the_next_attempt_is_in_status_before_a_pod_of_the_last_one_is_deleted() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster)
    cluster.finish_pod(cluster.pod(0, 0), exit_code=1)
    await reconcile_until_settled(life)
    deletions = [e for e in cluster.effects if e.method == "delete_pod"]
    assert len(deletions) == 2
    assert all(e.job_status["attempt"] == 1 for e in deletions)
    assert all(e.job_status["restarts"] == 1 for e in deletions)


@in_simulated_time
async def test_no_pod_is_deleted_while_the_restart_cannot_be_recorded() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster)
    cluster.finish_pod(cluster.pod(0, 0), exit_code=1)
    await deliver_watch_events()
    cluster.fail_next("patch_job_status", OUTAGE)
    with suppress(KubernetesError):
        await life.reconciler.reconcile(KEY)
    assert "delete_pod" not in called_methods(cluster)
    await reconcile_until_settled(life)
    assert cluster.status()["restarts"] == 1


@in_simulated_time
async def test_a_restart_is_counted_once_when_the_response_to_its_write_was_lost() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster)
    cluster.finish_pod(cluster.pod(0, 0), exit_code=1)
    await deliver_watch_events()
    cluster.fail_next("patch_job_status", OUTAGE, after=True)
    with suppress(KubernetesError):
        await life.reconciler.reconcile(KEY)
    await reconcile_until_settled(life)
    assert (cluster.status()["restarts"], cluster.status()["attempt"]) == (1, 1)


@in_simulated_time
async def test_the_end_is_in_status_before_the_pods_that_still_run_are_deleted() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster, backoff_limit=0)
    cluster.finish_pod(cluster.pod(0, 1), exit_code=7)
    await reconcile_until_settled(life)
    (deletion,) = (e for e in cluster.effects if e.method == "delete_pod")
    assert deletion.object["metadata"]["name"] == cluster.pod(0, 0)["metadata"]["name"]
    assert deletion.job_status["phase"] == "Failed"
    assert cluster.status()["exitCode"] == 7


@in_simulated_time
async def test_a_deletion_that_failed_is_repeated_only_after_a_live_read() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster, backoff_limit=0)
    cluster.finish_pod(cluster.pod(0, 1), exit_code=7)
    await deliver_watch_events()
    cluster.fail_next("delete_pod", OUTAGE)
    with suppress(KubernetesError):
        await life.reconciler.reconcile(KEY)
    cluster.calls.clear()
    await life.reconciler.reconcile(KEY)
    assert called_methods(cluster) == ["get_job", "delete_pod"]


@in_simulated_time
async def test_a_pod_that_may_not_be_deleted_does_not_keep_the_others_alive() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster, nodes=40)
    cluster.fail_next("delete_pod", ForbiddenError("protected by somebody's webhook", status=403))
    cluster.edit_job(shutdown="Stop")
    with pytest.raises(ForbiddenError):
        await reconcile_until_settled(life)
    await deliver_watch_events()
    stopping = ["deletionTimestamp" in pod["metadata"] for pod in cluster.pods()]
    assert stopping.count(False) == 1


@in_simulated_time
async def test_a_deletion_that_fails_leaves_no_other_one_on_its_way() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster, nodes=4)
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
        await reconcile_until_settled(life)
    assert under_way == 0


@in_simulated_time
async def test_the_deletion_of_a_pod_is_requested_once() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster)
    cluster.pod_watch.hold()
    cluster.edit_job(suspend=True)
    await reconcile_until_settled(life)
    await life.reconciler.reconcile(KEY)
    assert Counter(called_methods(cluster))["delete_pod"] == 2
