"""Finished jobs are deleted on time; the operator runs without kopf, in simulated time."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.kubelet import Kubelet
from tests.support.cluster.objects import Crash, When
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import AdjustableLoopClock, LoopClock, in_simulated_time
from tests.support.records.endpoint import FakeEndpoint
from trainingjob_api.constants import ANNOTATION_KEEP, FINALIZER_RECORD
from trainingjob_api.errors import (
    ConflictError,
    EndpointUnavailableError,
    ForbiddenError,
    RightMissingError,
    UnavailableError,
)


async def until(holds: Callable[[], object], *, within_s: float = 30.0) -> float:
    """Wait until this holds; when it did."""
    clock = LoopClock()
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.1)
    return clock.monotonic()


async def finish(cluster: FakeCluster, code: int = 0, **job: Any) -> float:
    """A job of one pod from its creation to its end; when it ended."""
    cluster.create_job(make_job(**{"backoff_limit": 0, **job}))
    kubelet = asyncio.create_task(Kubelet(cluster, lambda attempt, rank: code).run())
    ended_at = await until(lambda: cluster.status().get("completionTime"))
    kubelet.cancel()
    return ended_at


def requests(cluster: FakeCluster, since: int) -> Counter[str]:
    return Counter(call.method for call in cluster.calls[since:])


@pytest.mark.parametrize("end", ["Complete", "Failed", "Cancelled"])
@in_simulated_time
async def test_a_job_goes_when_its_time_is_over_by_one_request(end: str) -> None:
    cluster = FakeCluster(LoopClock())
    async with SimulatedOperator(cluster, ttl_s=600) as operator:
        if end == "Cancelled":
            cluster.create_job(make_job(shutdown="Stop"))
            ended_at = await until(lambda: cluster.status().get("completionTime"))
        else:
            ended_at = await finish(cluster, code=int(end == "Failed"))
        await asyncio.sleep(10)
        seen = len(cluster.calls)
        gone_at = await until(lambda: not cluster.jobs(), within_s=1000)

        assert 599 <= gone_at - ended_at <= 601
        asked = requests(cluster, seen)
        lists = {"list_jobs", "list_pods", "list_policies"}
        own = {method: times for method, times in asked.items() if method not in lists}
        assert own == {"delete_finished_job": 1}
        await until(lambda: not len(operator.index))
        assert operator.remover.removed_total == {"TTL": 1, "HistoryLimit": 0}
        assert "Expired" in cluster.reasons()
        assert not len(operator.queue)
    assert not cluster.pods()


@in_simulated_time
async def test_a_time_of_zero_is_at_once_and_after_the_record() -> None:
    cluster = FakeCluster(LoopClock())
    endpoint = FakeEndpoint(cluster)
    endpoint.down = EndpointUnavailableError("down")
    async with SimulatedOperator(cluster, ttl_s=3600, endpoint=endpoint):
        await finish(cluster, ttlSecondsAfterFinished=0)
        await asyncio.sleep(7200)
        assert cluster.status()["recordState"] == "Pending"
        endpoint.down = None
        await until(lambda: not cluster.jobs(), within_s=600)
        assert endpoint.row()["phase"] == "Succeeded"
    released = [
        e for e in cluster.effects if e.method == "set_record_finalizer" and not e.is_claimed
    ]
    assert len(released) == 1
    deletion = next(e for e in cluster.effects if e.method == "delete_finished_job")
    assert FINALIZER_RECORD not in deletion.object["metadata"].get("finalizers", [])


@in_simulated_time
async def test_a_job_whose_record_was_stored_late_goes_at_once_without_any_news() -> None:
    cluster = FakeCluster(LoopClock())
    endpoint = FakeEndpoint(cluster)
    endpoint.down = EndpointUnavailableError("down")
    async with SimulatedOperator(cluster, ttl_s=60, endpoint=endpoint, interval_s=10_000):
        await finish(cluster)
        await asyncio.sleep(200)
        endpoint.down = None
        stored_at = await until(lambda: endpoint.rows, within_s=600)
        assert await until(lambda: not cluster.jobs(), within_s=600) - stored_at < 2


@in_simulated_time
async def test_a_longer_time_given_between_decision_and_deletion_saves_the_job() -> None:
    cluster = FakeCluster(LoopClock())
    async with SimulatedOperator(cluster, ttl_s=60) as operator:
        ended_at = await finish(cluster)
        cluster.before["delete_finished_job"] = lambda: cluster.edit_job(
            ttlSecondsAfterFinished=300
        )
        gone_at = await until(lambda: not cluster.jobs(), within_s=600)
        assert 299 <= gone_at - ended_at <= 301
        assert operator.remover.removed_total["TTL"] == 1


@in_simulated_time
async def test_a_change_between_the_look_and_the_deletion_makes_it_look_again() -> None:
    cluster = FakeCluster(LoopClock())
    async with SimulatedOperator(cluster, ttl_s=60):
        await finish(cluster)
        cluster.before["delete_finished_job"] = lambda: cluster.annotate_job(
            **{ANNOTATION_KEEP: "true"}
        )
        await asyncio.sleep(1000)
        assert cluster.jobs()
        cluster.annotate_job(**{ANNOTATION_KEEP: "false"})
        await until(lambda: not cluster.jobs())


@in_simulated_time
async def test_a_change_after_which_its_time_is_still_over_takes_a_read_and_no_wait() -> None:
    cluster = FakeCluster(LoopClock())
    async with SimulatedOperator(cluster, ttl_s=60) as operator:
        ended_at = await finish(cluster)
        await asyncio.sleep(10)
        seen = len(cluster.calls)
        cluster.before["delete_finished_job"] = lambda: cluster.annotate_job(touched="1")
        gone_at = await until(lambda: not cluster.jobs(), within_s=100)
        assert 59 <= gone_at - ended_at <= 61
        assert requests(cluster, seen)["delete_finished_job"] == 2
        assert operator.remover.removed_total["TTL"] == 1


@in_simulated_time
async def test_a_namesake_made_between_the_look_and_the_deletion_lives() -> None:
    cluster = FakeCluster(LoopClock())

    def recreate() -> None:
        cluster.delete_job()
        cluster.create_job(make_job(suspend=True))

    async with SimulatedOperator(cluster, ttl_s=60):
        await finish(cluster)
        cluster.before["delete_finished_job"] = recreate
        await asyncio.sleep(1000)
        assert cluster.status()["phase"] == "Suspended"


@in_simulated_time
async def test_a_pinned_a_suspended_and_a_gitops_job_stay() -> None:
    cluster = FakeCluster(LoopClock())
    async with SimulatedOperator(cluster, ttl_s=60) as operator:
        pinned, owned = make_job("pinned"), make_job("owned")
        pinned["metadata"]["annotations"] = {ANNOTATION_KEEP: "true"}
        owned["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "Helm"}
        for manifest in (pinned, owned, make_job("waiting", suspend=True)):
            cluster.create_job(manifest)
        kubelet = asyncio.create_task(Kubelet(cluster).run())
        await asyncio.sleep(1000)
        kubelet.cancel()
        names = {job["metadata"]["name"] for job in cluster.jobs()}
        assert names == {"pinned", "owned", "waiting"}
        # Told when its time is over and something makes the operator look at it; else by a sweep.
        for number in range(3):
            cluster.annotate_job("owned", touched=str(number))
            await asyncio.sleep(1)
        said = cluster.reasons()
        assert said.count("NotDeleted") == 1
        assert len(operator.queue) == 0


@in_simulated_time
async def test_a_policy_rules_at_once_when_it_is_made_changed_and_deleted() -> None:
    cluster = FakeCluster(LoopClock())
    async with SimulatedOperator(cluster, ttl_s=100) as operator:
        await until(lambda: operator.policies.has_default)
        ended_at = await finish(cluster)
        cluster.create_policy_as_user("ml", ttlSecondsAfterFinished=10_000)
        await asyncio.sleep(200)
        assert cluster.jobs()
        cluster.edit_policy("ml", ttlSecondsAfterFinished=300)
        assert 299 <= await until(lambda: not cluster.jobs(), within_s=400) - ended_at <= 301

        cluster.edit_policy("ml", ttlSecondsAfterFinished=10_000)
        await finish(cluster)
        await asyncio.sleep(200)
        assert cluster.jobs()
        cluster.delete_policy("ml")
        await until(lambda: not cluster.jobs())


@in_simulated_time
async def test_the_default_policy_is_made_and_made_again() -> None:
    cluster = FakeCluster(LoopClock())
    async with SimulatedOperator(cluster, ttl_s=100):
        first = cluster.policy("ops")
        assert first["spec"] == {}
        cluster.delete_policy("ops")
        await until(lambda: requests(cluster, 0)["create_policy"] == 2, within_s=60)
        await asyncio.sleep(1)
        assert cluster.policy("ops")["metadata"]["uid"] != first["metadata"]["uid"]


@pytest.mark.parametrize("when", ["before", "after"])
@in_simulated_time
async def test_a_process_that_dies_at_a_deletion_leaves_it_to_the_next(when: When) -> None:
    cluster = FakeCluster(LoopClock())
    with suppress(Crash):
        async with SimulatedOperator(cluster, ttl_s=60):
            await finish(cluster)
            await asyncio.sleep(5)
            cluster.crash_at(len(cluster.calls), when)
            await until(lambda: cluster.has_crashed, within_s=100)
    cluster.revive()
    async with SimulatedOperator(cluster, ttl_s=60):
        await until(lambda: not cluster.jobs())
    assert not cluster.pods()


@in_simulated_time
async def test_a_restart_gives_finished_jobs_their_appointments_again() -> None:
    cluster = FakeCluster(LoopClock())
    async with SimulatedOperator(cluster, ttl_s=600):
        ended_at = await finish(cluster)
    async with SimulatedOperator(cluster, ttl_s=600):
        gone_at = await until(lambda: not cluster.jobs(), within_s=700)
        assert 599 <= gone_at - ended_at <= 601


@in_simulated_time
async def test_a_server_that_fails_is_asked_again_and_a_refusal_is_left_to_the_sweep() -> None:
    cluster = FakeCluster(LoopClock())
    async with SimulatedOperator(cluster, ttl_s=60) as operator:
        cluster.fail_next("delete_finished_job", UnavailableError("503"), times=3)
        await finish(cluster)
        await until(lambda: not cluster.jobs(), within_s=100)
        assert operator.remover.errors_total == 3

        cluster.fail_next("delete_finished_job", ForbiddenError("no right"), times=100)
        await finish(cluster)
        seen = len(cluster.calls)
        await asyncio.sleep(1000)
        asked = requests(cluster, seen)["delete_finished_job"]
        assert 1 <= asked <= 4, "once, and at each resync"


@in_simulated_time
async def test_a_right_that_is_missing_for_a_moment_delays_a_deletion_by_a_moment() -> None:
    """As after a restart of the API server, which knows no roles at first: no case for the sweep."""
    cluster = FakeCluster(LoopClock())
    async with SimulatedOperator(cluster, ttl_s=60, interval_s=10_000):
        cluster.fail_next(
            "delete_finished_job", RightMissingError("no right", status=403), times=3
        )
        ended_at = await finish(cluster, ttlSecondsAfterFinished=60)
        gone_at = await until(lambda: not cluster.jobs(), within_s=100)
        assert 60 <= gone_at - ended_at <= 65


@in_simulated_time
async def test_conflicts_without_end_are_not_asked_about_all_the_time() -> None:
    cluster = FakeCluster(LoopClock())
    async with SimulatedOperator(cluster, ttl_s=60):
        await finish(cluster)
        cluster.fail_next("delete_finished_job", ConflictError("changed"), times=1000)
        await asyncio.sleep(60)
        seen = len(cluster.calls)
        await asyncio.sleep(60)
        assert requests(cluster, seen)["delete_finished_job"] <= 61


@in_simulated_time
async def test_when_the_policies_cannot_be_listed_only_a_time_of_its_own_takes_a_job() -> None:
    cluster = FakeCluster(LoopClock())
    operator = SimulatedOperator(cluster, ttl_s=60)
    operator.policy_watch.refresh = _nothing  # type: ignore[method-assign]
    async with operator:
        await finish(cluster)
        await asyncio.sleep(1000)
        assert cluster.jobs()
        cluster.edit_job(ttlSecondsAfterFinished=1)
        await until(lambda: not cluster.jobs())


async def _nothing() -> None:
    """As if the list had failed, again and again."""


@in_simulated_time
async def test_a_clock_that_has_leapt_deletes_nothing_for_a_while() -> None:
    clock = AdjustableLoopClock()
    cluster = FakeCluster(clock)
    async with SimulatedOperator(cluster, ttl_s=86_400) as operator:
        await finish(cluster)
        clock.ahead_s = 10 * 86_400
        cluster.annotate_job(touched="1")
        await asyncio.sleep(100)
        assert operator.guard.leaps_total == 1
        assert cluster.jobs()
        await until(lambda: not cluster.jobs(), within_s=700)


@in_simulated_time
async def test_a_job_that_finished_by_a_clock_that_was_ahead_goes_when_that_time_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = AdjustableLoopClock()
    cluster = FakeCluster(clock)
    clock.ahead_s = 600
    async with SimulatedOperator(cluster, ttl_s=60) as operator:
        ended_at = await finish(cluster)
        clock.ahead_s = 0
        for number in range(3):
            cluster.annotate_job(touched=str(number))
            await asyncio.sleep(10)
        await asyncio.sleep(600)
        assert cluster.jobs(), "deleted by the clock that it finished by"
        gone_at = await until(lambda: not cluster.jobs(), within_s=100)
        assert 659 <= gone_at - ended_at <= 661
        assert len(operator.remover._reported) == 1
    said = [r.getMessage() for r in caplog.records if "is in the future" in r.getMessage()]
    assert len(said) == 1, "one warning, and not one a pass"
