"""Refusals are asked about at most once a minute, whatever comes in."""

import asyncio
from collections import Counter

from tests.support.builders import make_job
from tests.support.cluster import FakeCluster
from tests.support.leaping import leaping_time
from tests.support.operator_life import OperatorLife
from tests.support.passes import (
    OUTAGE,
    Object,
    conditions,
    methods,
    new_cluster,
    operated,
)
from trainingjob_operator.core.naming import pod_name
from trainingjob_operator.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
)


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
