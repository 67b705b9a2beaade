"""`trainingjob gc` where one namespace may not be listed: what is swept and reported."""

from collections.abc import AsyncIterator

import pytest

from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.simulated_operator import SimulatedOperator, settings_of
from tests.support.cluster.simulated_time import AdjustableLoopClock, LoopClock, in_simulated_time
from tests.unit.trainingjob_operator.retention.test_housekeeper import Volume
from tests.unit.trainingjob_operator.retention.test_job_sweep import ended
from trainingjob_api.errors import UnavailableError
from trainingjob_operator.commands.gc import GcReport, _sweep
from trainingjob_operator.engine import Engine
from trainingjob_operator.kube.cluster import Page
from trainingjob_operator.observability.metrics import Metrics
from trainingjob_operator.volume.sweep.report_format import Listing

NAMESPACES = ("web", "ml", "ops")
POLICIES_OF_WEB = (
    "the RetentionPolicies of namespace web may not be listed: a job there is deleted only "
    "if its own spec.ttlSecondsAfterFinished says so"
)


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_namespace_that_may_not_be_listed_does_not_keep_the_others_from_theirs(
    dry_run: bool,
) -> None:
    @in_simulated_time
    async def play() -> None:
        cluster = FakeCluster(LoopClock(), namespaces=NAMESPACES)
        cluster.create_policy_as_user("ops")
        for namespace in NAMESPACES:
            ended(cluster, "old", namespace=namespace)
        cluster.forbidden.update({("list_jobs", "web"), ("list_policies", "web")})
        account = GcReport(listing=Listing() if dry_run else None)
        engine = Engine(
            settings_of(ttl_s=60, namespaces=NAMESPACES),
            cluster,
            cluster.clock,
            namespace="ops",
            on_pass=print,
            counts=Metrics().gc,
            on_deleted=lambda key, reason: account.jobs.append((key, reason)),
            creates_default=False,
            dry_run=dry_run,
        )
        await _sweep(engine, account)
        assert sorted((key.namespace, reason) for key, reason in account.jobs) == [
            ("ml", "TTL"),
            ("ops", "TTL"),
        ]
        left = {job["metadata"]["namespace"] for job in cluster.jobs()}
        assert left == (set(NAMESPACES) if dry_run else {"web"})
        assert account.failed == [
            POLICIES_OF_WEB,
            "1 jobs or lists of jobs could not be processed",
        ]
        lists = [call for call in cluster.calls if call.method == "list_policies"]
        assert len(lists) == len(NAMESPACES), "each is listed once"

    play()


async def failures(cluster: FakeCluster, *, forbidden: tuple[str, str] | None = None) -> list[str]:
    """Sweep once, and return what `trainingjob gc` says of what it did not do."""
    if forbidden is not None:
        cluster.forbidden.add(forbidden)
    account = GcReport()
    await _sweep(
        SimulatedOperator(cluster, ttl_s=60, namespaces=NAMESPACES, sweep=Volume()), account
    )
    return account.failed


def cluster_with_a_policy() -> FakeCluster:
    cluster = FakeCluster(LoopClock(), namespaces=NAMESPACES)
    cluster.create_policy_as_user("ops")
    return cluster


@in_simulated_time
async def test_policies_that_may_not_be_listed_are_a_failure_though_the_jobs_may() -> None:
    cluster = cluster_with_a_policy()
    assert await failures(cluster, forbidden=("list_policies", "web")) == [POLICIES_OF_WEB]


@in_simulated_time
async def test_where_the_home_may_not_be_listed_no_other_cluster_is_suspected() -> None:
    [failure] = await failures(cluster_with_a_policy(), forbidden=("list_policies", "ops"))
    assert failure == POLICIES_OF_WEB.replace("web", "ops")


@in_simulated_time
async def test_a_volume_is_left_alone_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(namespace: str) -> None:
        raise UnavailableError("no answer")

    cluster = cluster_with_a_policy()
    monkeypatch.setattr(cluster, "get_policy", silent)
    assert await failures(cluster) == [
        "the volume is left alone: the default policy cannot be read: no answer"
    ]
    listed = ("list_jobs", "web")
    assert await failures(cluster_with_a_policy(), forbidden=listed) == [
        "1 jobs or lists of jobs could not be processed",
        "the volume is left alone: not all jobs could be listed",
    ]


@in_simulated_time
async def test_a_clock_that_is_set_meanwhile_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = AdjustableLoopClock()
    cluster = FakeCluster(clock, namespaces=NAMESPACES)
    cluster.create_policy_as_user("ops")
    ended(cluster, "old", namespace="ml")
    list_jobs = cluster.list_jobs

    def set_and_list(namespace: str | None) -> AsyncIterator[Page]:
        clock.ahead_s = 7200
        return list_jobs(namespace)

    monkeypatch.setattr(cluster, "list_jobs", set_and_list)
    assert await failures(cluster) == [
        "1 jobs are left alone: the clock was set by more than an hour; run it again",
        (
            "the volume is left alone: the clock was set by more than an hour, or the process "
            "stood still"
        ),
    ]
    assert len(cluster.jobs()) == 1
