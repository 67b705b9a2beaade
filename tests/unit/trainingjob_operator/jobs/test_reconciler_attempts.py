"""Rules 2 and 3: every rank is remembered, and every start of all of them is a new attempt."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.reconcile_passes import (
    KEY,
    OUTAGE,
    Object,
    called_methods,
    conditions,
    deliver_watch_events,
    manual_operator,
    new_cluster,
    operator_with_running_job,
    pod_names,
    reconcile_until_settled,
    running_operator,
)
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import in_simulated_time
from trainingjob_api.constants import ANNOTATION_TEMPLATE_HASH
from trainingjob_api.errors import (
    KubernetesError,
)

# --- rule 2: every rank is remembered -------------------------------------------------------------


@in_simulated_time
async def test_an_attempt_counts_as_launched_only_when_its_last_pod_is_created() -> None:
    cluster = new_cluster()
    life = await manual_operator(cluster)
    cluster.create_job(make_job(nodes=2))
    await deliver_watch_events()
    cluster.before["create_pod"] = lambda: cluster.before.update(
        {"create_pod": lambda: cluster.fail_next("create_pod", OUTAGE)}
    )
    with suppress(KubernetesError):
        await life.reconciler.reconcile(KEY)
    assert len(cluster.pods()) == 1
    assert "launchedAttempt" not in cluster.status()
    cluster.calls.clear()
    await reconcile_until_settled(life)
    assert Counter(called_methods(cluster))["create_pod"] == 1, "only the missing one"
    assert cluster.status()["launchedAttempt"] == 0


@in_simulated_time
async def test_a_rank_that_is_done_is_not_run_again_when_its_pod_is_gone() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster)
    cluster.finish_pod(cluster.pod(0, 0))
    await reconcile_until_settled(life)
    await asyncio.sleep(2)
    await reconcile_until_settled(life)
    assert cluster.status()["completedIndexes"] == "0"
    cluster.lose_pod(cluster.pod(0, 0))
    await reconcile_until_settled(life)
    cluster.finish_pod(cluster.pod(0, 1))
    await reconcile_until_settled(life)
    assert cluster.status()["phase"] == "Succeeded"
    assert Counter(called_methods(cluster))["create_pod"] == 2


@in_simulated_time
async def test_a_rank_is_done_if_only_the_deleted_event_of_its_pod_says_so() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster, nodes=1)
    cluster.pod_watch.hold()
    cluster.finish_pod(cluster.pod())
    cluster.lose_pod(cluster.pod())
    del cluster.pod_watch.pending[0]  # the change is never reported, only the end
    cluster.pod_watch.release()
    await reconcile_until_settled(life)
    assert cluster.status()["phase"] == "Succeeded"


@in_simulated_time
async def test_a_lost_rank_restarts_all_ranks_and_spends_no_try() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, lambda attempt, rank: None):
        cluster.create_job(make_job(nodes=3, backoff_limit=0))
        await asyncio.sleep(10)
        cluster.lose_pod(cluster.pod(0, 1))
        await asyncio.sleep(60)
        status = cluster.status()
    assert (status["attempt"], status["restarts"], status["disruptions"]) == (1, 0, 1)
    assert conditions(cluster)["Restarting"] == ("False", "Restarted")
    assert status["ready"] == 3


@in_simulated_time
async def test_a_lost_rank_that_no_watch_reports_is_found_by_the_resync() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, lambda attempt, rank: None, interval_s=60.0):
        cluster.create_job(make_job(nodes=2))
        await asyncio.sleep(10)
        cluster.pod_watch.hold()
        cluster.lose_pod(cluster.pod(0, 1))
        cluster.pod_watch.drop()
        cluster.pod_watch.release()
        await asyncio.sleep(120)
    assert cluster.status()["disruptions"] == 1


@in_simulated_time
async def test_pods_that_no_watch_event_reported_yet_are_listed_before_they_count_as_lost() -> (
    None
):
    cluster = new_cluster()
    await operator_with_running_job(cluster)
    cluster.disconnect()
    life = SimulatedOperator(cluster)
    cluster.pod_watch.hold()
    cluster.connect(life.watch_events)
    cluster.calls.clear()
    await reconcile_until_settled(life)
    assert called_methods(cluster) == ["list_pods"]
    assert cluster.status()["disruptions"] == 0


# --- rule 3: every gang start is a new attempt; adoption ------------------------------------------


@in_simulated_time
async def test_a_pod_is_adopted_when_the_response_to_its_creation_was_lost() -> None:
    cluster = new_cluster()
    life = await manual_operator(cluster)
    cluster.pod_watch.hold()
    cluster.create_job(make_job())
    await deliver_watch_events()
    cluster.fail_next("create_pod", OUTAGE, after=True)
    with suppress(KubernetesError):
        await life.reconciler.reconcile(KEY)
    created = cluster.pod()
    await reconcile_until_settled(life)
    assert cluster.pod()["metadata"]["uid"] == created["metadata"]["uid"]
    assert called_methods(cluster)[-4:] == ["get_job", "create_pod", "get_pod", "patch_job_status"]
    assert cluster.status()["launchedAttempt"] == 0


async def _with_a_pod_in_the_way(change: Callable[[Object, Object], None]) -> FakeCluster:
    """A job whose pod's name is taken by a pod that differs from its own in one thing."""
    donor = new_cluster()
    await operator_with_running_job(donor, nodes=1)
    cluster = new_cluster()
    life = await manual_operator(cluster)
    cluster.pod_watch.hold()
    job = cluster.create_job(make_job())
    pod = donor.pod()
    change(pod, job)
    cluster.create_foreign("pods", pod)
    await reconcile_until_settled(life)
    return cluster


@in_simulated_time
async def test_a_pod_of_another_owner_is_neither_adopted_nor_deleted() -> None:
    def is_owned_by_another(pod: Object, job: Object) -> None:
        pod["metadata"]["ownerReferences"][0]["uid"] = "another"

    cluster = await _with_a_pod_in_the_way(is_owned_by_another)
    assert conditions(cluster)["PodsReady"] == ("False", "PodNameConflict")
    assert "delete_pod" not in called_methods(cluster)
    assert "launchedAttempt" not in cluster.status()


@in_simulated_time
async def test_a_pod_made_from_another_template_is_not_adopted() -> None:
    def is_made_from_another_template(pod: Object, job: Object) -> None:
        pod["metadata"]["annotations"][ANNOTATION_TEMPLATE_HASH] = "0" * 16

    cluster = await _with_a_pod_in_the_way(is_made_from_another_template)
    assert conditions(cluster)["PodsReady"] == ("False", "PodNameConflict")
    assert "launchedAttempt" not in cluster.status()


@in_simulated_time
async def test_a_pod_that_is_the_same_is_adopted() -> None:
    cluster = await _with_a_pod_in_the_way(lambda pod, job: None)
    assert cluster.status()["launchedAttempt"] == 0


@in_simulated_time
async def test_a_pod_that_is_terminating_is_not_taken_for_the_attempts_own() -> None:
    cluster = new_cluster()
    life = await manual_operator(cluster)
    cluster.pod_watch.hold()
    cluster.create_job(make_job())
    await deliver_watch_events()
    cluster.fail_next("create_pod", OUTAGE, after=True)
    with suppress(KubernetesError):
        await life.reconciler.reconcile(KEY)
    cluster.run_pod(cluster.pod())
    cluster.delete_pod_as_user(cluster.pod())
    await reconcile_until_settled(life)
    assert (cluster.status()["attempt"], cluster.status()["disruptions"]) == (1, 1)


@in_simulated_time
async def test_a_resume_is_a_new_attempt_that_counts_as_no_restart() -> None:
    cluster = new_cluster()
    async with running_operator(cluster, lambda attempt, rank: None):
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


@in_simulated_time
async def test_no_pod_of_the_next_attempt_is_created_before_the_old_ones_are_deleted() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster)
    cluster.finish_pod(cluster.pod(0, 0), exit_code=1)
    await reconcile_until_settled(life)
    await asyncio.sleep(20)  # the back-off is over, and rank 1 still ends
    await reconcile_until_settled(life)
    assert pod_names(cluster.pods()) == [cluster.pod(0, 1)["metadata"]["name"]]
    cluster.reap()
    await reconcile_until_settled(life)
    assert len(cluster.pods()) == 2
    assert cluster.status()["launchedAttempt"] == 1
