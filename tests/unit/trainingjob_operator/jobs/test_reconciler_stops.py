"""Rules 6 and 8: success is to finish before being asked to stop, and shutdown is latched."""

import asyncio
from collections.abc import Callable

from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.reconcile_passes import (
    conditions,
    new_cluster,
    operator_with_running_job,
    reconcile_until_settled,
)
from tests.support.cluster.simulated_time import in_simulated_time

# --- rule 8: success is to finish before being asked to stop --------------------------------------


async def _exits_0_after(ask: Callable[[FakeCluster], object]) -> FakeCluster:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster, nodes=1)
    ask(cluster)
    await reconcile_until_settled(life)
    await asyncio.sleep(3)
    cluster.finish_pod(cluster.pod(), exit_code=0)
    await reconcile_until_settled(life)
    cluster.reap()
    await reconcile_until_settled(life)
    return cluster


@in_simulated_time
async def test_a_pod_that_exits_0_because_of_a_suspension_has_not_completed() -> None:
    cluster = await _exits_0_after(lambda c: c.edit_job(suspend=True))
    assert cluster.status()["phase"] == "Suspended"


@in_simulated_time
async def test_a_pod_that_exits_0_because_of_a_shutdown_has_not_completed() -> None:
    cluster = await _exits_0_after(lambda c: c.edit_job(shutdown="Stop"))
    assert conditions(cluster)["Cancelled"] == ("True", "Stopped")
    assert "Complete" not in conditions(cluster)


@in_simulated_time
async def test_a_pod_that_exits_0_because_it_was_deleted_was_disrupted() -> None:
    cluster = await _exits_0_after(lambda c: c.delete_pod_as_user(c.pod()))
    assert cluster.status()["disruptions"] == 1


@in_simulated_time
async def test_a_pod_that_was_done_before_the_shutdown_has_completed() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster, nodes=1)
    cluster.finish_pod(cluster.pod())
    cluster.edit_job(shutdown="Stop")
    await reconcile_until_settled(life)
    assert conditions(cluster)["Complete"] == ("True", "CompletionsReached")


@in_simulated_time
async def test_an_evicted_rank_is_a_disruption_and_its_failed_peer_no_restart() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster)
    cluster.evict_pod(cluster.pod(0, 0))
    await reconcile_until_settled(life)
    status = cluster.status()
    assert (status["restarts"], status["disruptions"]) == (0, 1)
    assert conditions(cluster)["Restarting"] == ("True", "Evicted")


# --- rule 9: shutdown is latched ------------------------------------------------------------------


@in_simulated_time
async def test_removing_the_shutdown_does_not_bring_the_job_back() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster)
    cluster.edit_job(shutdown="Stop")
    await reconcile_until_settled(life)
    cluster.edit_job(shutdown=None)
    await reconcile_until_settled(life)
    cluster.reap()
    await reconcile_until_settled(life)
    assert conditions(cluster)["Cancelled"] == ("True", "Stopped")
    assert cluster.pods() == []


@in_simulated_time
async def test_the_latch_is_in_status_before_the_pods_are_asked_to_stop() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster)
    cluster.edit_job(shutdown="Stop")
    await reconcile_until_settled(life)
    deletions = [e for e in cluster.effects if e.method == "delete_pod"]
    assert [e.job_status["shutdown"]["mode"] for e in deletions] == ["Stop", "Stop"]


@in_simulated_time
async def test_a_stop_that_becomes_a_terminate_hastens_the_pods() -> None:
    cluster = new_cluster()
    life = await operator_with_running_job(cluster, nodes=1)
    cluster.edit_job(shutdown="Stop")
    await reconcile_until_settled(life)
    assert cluster.pod()["metadata"]["deletionGracePeriodSeconds"] == 30
    cluster.edit_job(shutdown="Terminate")
    await reconcile_until_settled(life)
    assert cluster.pod()["metadata"]["deletionGracePeriodSeconds"] == 1
