"""A missing Role in one namespace: the other namespaces are swept, the volume is not."""

import asyncio

import pytest

from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import LoopClock, in_simulated_time
from tests.unit.trainingjob_operator.retention.test_housekeeper import House, Volume, house
from tests.unit.trainingjob_operator.retention.test_job_sweep import ended
from trainingjob_api.errors import RightMissingError, UnavailableError

NAMESPACES = ("web", "ml", "ops")


def new_cluster() -> FakeCluster:
    return FakeCluster(LoopClock(), namespaces=NAMESPACES)


def new_life(cluster: FakeCluster) -> SimulatedOperator:
    return SimulatedOperator(cluster, ttl_s=3600, namespaces=NAMESPACES)


def left(cluster: FakeCluster) -> set[str]:
    return {job["metadata"]["namespace"] for job in cluster.jobs()}


async def new_house(cluster: FakeCluster, volume: Volume) -> House:
    home = await house(cluster, volume=volume, namespaces=NAMESPACES)
    for namespace in NAMESPACES:
        ended(cluster, "old", namespace=namespace)
    return home


@in_simulated_time
async def test_jobs_are_swept_wherever_they_can_be_listed() -> None:
    cluster = new_cluster()
    for namespace in NAMESPACES:
        ended(cluster, "old", namespace=namespace)
    life = new_life(cluster)
    await life.policy_watch.refresh()
    cluster.forbidden.add(("list_jobs", "web"))
    sweep = life.job_sweep
    report = await sweep.run(NAMESPACES, policy_namespace="ops", remember=True)
    assert left(cluster) == {"web"}
    assert (report.examined, report.errors, report.is_complete) == (2, 1, False)
    assert report.not_listed[0].startswith("in namespace web: ")
    cluster.forbidden.clear()
    report = await sweep.run(NAMESPACES, policy_namespace="ops", remember=True)
    assert (left(cluster), report.is_complete, report.not_listed) == (set(), True, [])


@in_simulated_time
async def test_a_server_that_fails_in_one_namespace_ends_the_sweep_as_ever() -> None:
    cluster = new_cluster()
    ended(cluster, "old")
    life = new_life(cluster)
    await life.policy_watch.refresh()
    cluster.fail_next("list_jobs", UnavailableError("503"))
    report = await life.job_sweep.run(NAMESPACES, policy_namespace="ops")
    assert (left(cluster), report.is_complete) == ({"ml"}, False)


@in_simulated_time
async def test_nothing_leaves_the_volume_while_one_namespace_cannot_be_listed() -> None:
    cluster, volume = new_cluster(), Volume()
    cluster.forbidden.add(("list_jobs", "web"))
    home = await new_house(cluster, volume)
    await home.keeper.tick("ops")
    assert left(cluster) == {"web"}
    assert volume.live == []
    assert home.counts.left_alone == ["JobsUnknown"]
    [healthy] = [c for c in home.status()["conditions"] if c["type"] == "VolumeHealthy"]
    assert (healthy["status"], healthy["reason"]) == ("False", "JobsUnknown")
    assert "nothing is removed" in healthy["message"]
    assert "in namespace web" in healthy["message"]

    cluster.forbidden.clear()
    await home.keeper.tick("ops")
    assert left(cluster) == set()
    assert len(volume.live) == 1


@in_simulated_time
async def test_policies_are_followed_wherever_they_can_be_listed() -> None:
    cluster = new_cluster()
    cluster.create_policy_as_user("ml", ttlSecondsAfterFinished=5)
    cluster.create_policy_as_user("web", ttlSecondsAfterFinished=10**6)
    cluster.forbidden.add(("list_policies", "web"))
    life = new_life(cluster)
    running = asyncio.create_task(life.policy_watch.run())
    await asyncio.sleep(1)
    assert life.policies.has_default, "made although one namespace cannot be read"
    inherited = life.policies.inherited_by("ml")
    assert inherited is not None
    assert inherited.own.ttl_s == 5
    assert life.policies.inherited_by("web") is None, "nothing is concluded"
    cluster.forbidden.clear()
    await asyncio.sleep(31)
    inherited = life.policies.inherited_by("web")
    assert inherited is not None
    assert inherited.own.ttl_s == 10**6
    running.cancel()


@in_simulated_time
async def test_a_job_whose_policy_cannot_be_read_stays() -> None:
    cluster = new_cluster()
    cluster.create_policy_as_user("web", ttlSecondsAfterFinished=10**6)
    cluster.forbidden.add(("list_policies", "web"))
    home = await new_house(cluster, Volume())
    ended(cluster, "own-time", namespace="web", ttlSecondsAfterFinished=60)
    await home.keeper.tick("ops")
    assert [job["metadata"]["name"] for job in cluster.jobs()] == ["old"]
    assert left(cluster) == {"web"}


@in_simulated_time
async def test_a_policy_that_was_known_holds_while_its_namespace_is_forbidden() -> None:
    cluster = new_cluster()
    cluster.create_policy_as_user("web", ttlSecondsAfterFinished=10**6)
    life = new_life(cluster)
    await life.policy_watch.refresh()
    cluster.forbidden.add(("list_policies", "web"))
    await life.policy_watch.refresh()
    inherited = life.policies.inherited_by("web")
    assert inherited is not None
    assert inherited.own.ttl_s == 10**6


@in_simulated_time
async def test_without_the_default_policys_namespace_no_job_goes_by_a_policy_of_nobody() -> None:
    cluster = new_cluster()
    cluster.create_policy_as_user("ops", ttlSecondsAfterFinished=10**6)
    cluster.forbidden.add(("list_policies", "ops"))
    life = new_life(cluster)
    await life.policy_watch.refresh()
    assert life.policies.inherited_by("ml") is None
    assert "create_policy" not in {call.method for call in cluster.calls}


@pytest.mark.parametrize("namespaces", [(None,), NAMESPACES])
def test_policies_that_are_forbidden_everywhere_are_an_error_as_ever(
    namespaces: tuple[str | None, ...],
) -> None:
    @in_simulated_time
    async def play() -> None:
        cluster = new_cluster()
        cluster.forbidden.update(("list_policies", each or "") for each in namespaces)
        life = SimulatedOperator(cluster, namespaces=namespaces)
        with pytest.raises(RightMissingError):
            await life.policy_watch.refresh()

    play()
