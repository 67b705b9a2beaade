"""Refused creations are retried at most once a minute, except the first changes of the job."""

import asyncio
from collections import Counter

import pytest

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.reconcile_passes import (
    OUTAGE,
    Object,
    called_methods,
    conditions,
    new_cluster,
    running_operator,
)
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import in_simulated_time
from trainingjob_api.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    KubernetesError,
    NotServedError,
)
from trainingjob_operator.core.naming import pod_name


async def _refused_for_ten_minutes(cluster: FakeCluster) -> int:
    """How often a pod is asked for while its job changes every second; then all is well."""
    async with SimulatedOperator(cluster):
        cluster.create_job(make_job())
        for second in range(600):
            cluster.edit_job(ttlSecondsAfterFinished=second)
            await asyncio.sleep(1)
        return Counter(called_methods(cluster))["create_pod"]


@in_simulated_time
async def test_an_exceeded_quota_is_retried_once_a_minute_and_fails_no_job() -> None:
    cluster = new_cluster()
    cluster.pod_quota = 0
    assert 10 <= await _refused_for_ten_minutes(cluster) <= 17
    assert conditions(cluster)["PodsReady"] == ("False", "QuotaExceeded")
    assert cluster.status()["phase"] == "Pending"
    assert "startTime" not in cluster.status()


@in_simulated_time
async def test_a_denial_by_admission_is_retried_once_a_minute() -> None:
    cluster = new_cluster()
    denied = ForbiddenError("violates PodSecurity", status=403)
    cluster.fail_next("create_pod", denied, times=float("inf"))
    assert 10 <= await _refused_for_ten_minutes(cluster) <= 17
    assert conditions(cluster)["PodsReady"] == ("False", "Forbidden")


@in_simulated_time
async def test_a_raised_quota_starts_the_job_within_a_minute() -> None:
    cluster = new_cluster()
    cluster.pod_quota = 1
    async with SimulatedOperator(cluster):
        cluster.create_job(make_job(nodes=2))
        await asyncio.sleep(30)
        assert len(cluster.pods()) == 1
        cluster.pod_quota = 2
        await asyncio.sleep(61)
    assert len(cluster.pods()) == 2
    assert cluster.status()["launchedAttempt"] == 0


@in_simulated_time
async def test_a_refused_job_of_a_thousand_ranks_costs_one_request_for_a_pod() -> None:
    cluster = new_cluster()
    cluster.pod_quota = 0
    async with SimulatedOperator(cluster):
        cluster.create_job(make_job(nodes=1000))
        await asyncio.sleep(30)
    assert Counter(called_methods(cluster))["create_pod"] == 1


@in_simulated_time
async def test_a_corrected_job_is_retried_at_once() -> None:
    cluster = new_cluster()
    cluster.pod_quota = 0
    async with SimulatedOperator(cluster):
        cluster.create_job(make_job())
        await asyncio.sleep(10)
        cluster.edit_job(suspend=True)
        await asyncio.sleep(1)
        cluster.pod_quota = 1
        cluster.edit_job(suspend=False)
        await asyncio.sleep(1)
    assert len(cluster.pods()) == 1


@in_simulated_time
async def test_the_quota_of_one_attempt_is_not_that_of_the_next() -> None:
    cluster = new_cluster()
    cluster.pod_quota = 1
    async with SimulatedOperator(cluster):
        cluster.create_job(make_job(nodes=2, preRunningDeadlineSeconds=20, backoffLimit=3))
        await asyncio.sleep(10)
        assert conditions(cluster)["PodsReady"] == ("False", "QuotaExceeded")
        cluster.pod_quota = 10
        await asyncio.sleep(20)
    assert cluster.status()["attempt"] == 1
    assert cluster.status()["launchedAttempt"] == 1


POD_INVALID = InvalidError("spec.containers[1].image: Required value", status=422)
TEMPLATE_INVALID = InvalidError(
    'PodTemplate "mnist" is invalid: [template.spec.nodeName: Invalid value]', status=422
)


@in_simulated_time
async def test_a_pod_that_can_never_be_created_fails_its_job_at_once() -> None:
    cluster = new_cluster()
    cluster.fail_next("create_pod", POD_INVALID)
    cluster.fail_next("try_pod_template", TEMPLATE_INVALID)
    async with SimulatedOperator(cluster):
        cluster.create_job(make_job())
        await asyncio.sleep(2)
    assert conditions(cluster)["Failed"] == ("True", "InvalidPodTemplate")


@in_simulated_time
async def test_a_good_template_of_which_admission_makes_an_invalid_pod_is_waited_for() -> None:
    cluster = new_cluster()
    cluster.fail_next("create_pod", POD_INVALID, times=10)
    async with SimulatedOperator(cluster):
        cluster.create_job(make_job())
        await asyncio.sleep(300)
        status, asked = cluster.status(), called_methods(cluster).count("create_pod")
        assert conditions(cluster)["PodsReady"] == ("False", "InvalidPod")
        ready = next(c for c in status["conditions"] if c["type"] == "PodsReady")
        assert POD_INVALID.message in ready["message"]
        assert (status["phase"], status["restarts"]) == ("Pending", 0)
        assert asked == 10, "after 1 s, 2 s, 4 s, ... and then once a minute"
        await asyncio.sleep(61)
    assert len(cluster.pods()) == 1


@pytest.mark.parametrize(
    "answer",
    [
        ForbiddenError("podtemplates is forbidden", status=403),
        NotServedError("404", status=404),
        AlreadyExistsError("there is one", status=409),
        InvalidError("admission webhook does not support dry run", status=400),
    ],
    ids=["no right", "not served", "its name is taken", "no dry run"],
)
def test_a_template_that_cannot_be_judged_is_given_the_benefit_of_the_doubt(
    answer: KubernetesError,
) -> None:
    @in_simulated_time
    async def play() -> None:
        cluster = new_cluster()
        cluster.fail_next("create_pod", POD_INVALID, times=100)
        cluster.fail_next("try_pod_template", answer, times=100)
        async with SimulatedOperator(cluster):
            cluster.create_job(make_job())
            await asyncio.sleep(2)
        assert conditions(cluster)["PodsReady"] == ("False", "InvalidPod")
        assert cluster.status()["phase"] == "Pending"

    play()


@pytest.mark.parametrize("restarted", [False, True], ids=["the same operator", "another operator"])
def test_no_job_fails_in_mid_training_of_a_pod_that_is_called_invalid(*, restarted: bool) -> None:
    @in_simulated_time
    async def play() -> None:
        cluster = new_cluster()
        async with SimulatedOperator(cluster):
            cluster.create_job(make_job())
            await asyncio.sleep(2)
            cluster.fail_next("create_pod", POD_INVALID, times=100)
            cluster.fail_next("try_pod_template", TEMPLATE_INVALID, times=100)
            if not restarted:
                cluster.finish_pod(cluster.pod(), exit_code=1)
                await asyncio.sleep(120)
        if restarted:
            cluster.finish_pod(cluster.pod(), exit_code=1)
            async with SimulatedOperator(cluster):
                await asyncio.sleep(120)
        assert conditions(cluster)["PodsReady"] == ("False", "InvalidPod")
        assert "try_pod_template" not in called_methods(cluster)
        status = cluster.status()
        assert (status["attempt"], status["restarts"]) == (1, 1)
        assert "Failed" not in conditions(cluster)

    play()


@in_simulated_time
async def test_a_rank_that_is_called_invalid_beside_one_that_was_taken_is_waited_for() -> None:
    cluster = new_cluster()
    create_pod = cluster.create_pod

    async def create_rank_0(manifest: Object) -> Object:
        if manifest["metadata"]["labels"]["trainingjob.dev/index"] != "0":
            raise POD_INVALID
        return await create_pod(manifest)

    cluster.create_pod = create_rank_0  # type: ignore[method-assign]
    cluster.fail_next("try_pod_template", TEMPLATE_INVALID, times=100)
    async with SimulatedOperator(cluster):
        cluster.create_job(make_job(nodes=2))
        await asyncio.sleep(2)
    assert conditions(cluster)["PodsReady"] == ("False", "InvalidPod")


@in_simulated_time
async def test_a_service_that_is_called_invalid_is_waited_for() -> None:
    cluster = new_cluster()
    cluster.fail_next("create_service", InvalidError("spec.ports: Invalid value", status=422))
    async with SimulatedOperator(cluster):
        cluster.create_job(make_job(nodes=2))
        await asyncio.sleep(2)
        assert conditions(cluster)["PodsReady"] == ("False", "Forbidden")
        await asyncio.sleep(60)
    assert len(cluster.pods()) == 2


@in_simulated_time
async def test_a_foreign_service_is_a_condition_and_not_a_crash() -> None:
    cluster = new_cluster()
    async with SimulatedOperator(cluster):
        job = cluster.create_job(make_job(nodes=2, suspend=True))
        name = pod_name("mnist", job["metadata"]["uid"], 0, 0).removesuffix("-0-0")
        cluster.create_foreign("services", {"metadata": {"name": name, "namespace": "ml"}})
        cluster.edit_job(suspend=False)
        await asyncio.sleep(2)
    assert conditions(cluster)["PodsReady"] == ("False", "ServiceNameConflict")
    assert cluster.pods() == []


@in_simulated_time
async def test_a_service_is_adopted_when_the_response_to_its_creation_was_lost() -> None:
    cluster = new_cluster()
    cluster.fail_next("create_service", OUTAGE, after=True)
    async with running_operator(cluster):
        cluster.create_job(make_job(nodes=2))
        await asyncio.sleep(30)
    assert cluster.status()["phase"] == "Succeeded"


@in_simulated_time
async def test_a_sick_api_server_fails_no_job() -> None:
    cluster = new_cluster()
    for method in ("get_job", "create_pod", "patch_job_status"):
        cluster.fail_next(method, OUTAGE, times=2)
        cluster.fail_next(method, OUTAGE, times=1, after=True)
    cluster.fail_next("patch_job_status", ConflictError("changed", status=409), times=3)
    async with running_operator(cluster):
        cluster.create_job(make_job())
        await asyncio.sleep(300)
    status = cluster.status()
    assert (status["phase"], status["restarts"], status["attempt"]) == ("Succeeded", 0, 0)


@in_simulated_time
async def test_a_conflict_that_never_ends_is_no_hot_loop() -> None:
    cluster = new_cluster()
    conflict = ConflictError("changed, or so it says", status=409)
    cluster.fail_next("patch_job_status", conflict, times=10_000)
    async with running_operator(cluster):
        cluster.create_job(make_job())
        await asyncio.sleep(300)
    assert 5 < called_methods(cluster).count("patch_job_status") < 30


@in_simulated_time
async def test_a_pod_with_altered_labels_causes_no_hot_loop() -> None:
    cluster = new_cluster()
    create_pod = cluster.create_pod

    async def create_as_rank_0(manifest: Object) -> Object:
        manifest["metadata"]["labels"]["trainingjob.dev/index"] = "0"
        return await create_pod(manifest)

    cluster.create_pod = create_as_rank_0  # type: ignore[method-assign]
    async with running_operator(cluster, lambda attempt, rank: None):
        cluster.create_job(make_job(nodes=2))
        await asyncio.sleep(300)
    assert len(cluster.pods()) == 2
    assert called_methods(cluster).count("create_pod") < 30
