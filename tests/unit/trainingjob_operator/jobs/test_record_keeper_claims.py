"""The record finalizer: added before the first pod, removed last of all."""

import asyncio
import math
from collections import Counter

import pytest

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.jobs_with_records import (
    Object,
    finalizers,
    new_cluster_and_endpoint,
    persisted,
    running_operator,
)
from tests.support.cluster.simulated_time import in_simulated_time
from trainingjob_api.constants import ANNOTATION_DISCARD_RECORD, FINALIZER_RECORD
from trainingjob_api.errors import (
    ForbiddenError,
)
from trainingjob_operator.core.job import JobView


@in_simulated_time
async def test_the_claim_is_on_the_job_before_its_first_pod() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    claimed: list[bool] = []
    cluster.before["create_pod"] = lambda: claimed.append(FINALIZER_RECORD in finalizers(cluster))
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(30)
    assert claimed == [True]


@in_simulated_time
async def test_other_finalizers_stay_where_they_are() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    job = make_job()
    job["metadata"]["finalizers"] = ["example.com/other"]
    async with running_operator(cluster, endpoint):
        cluster.create_job(job)
        await asyncio.sleep(1)
        assert finalizers(cluster) == ["example.com/other", FINALIZER_RECORD]
        await asyncio.sleep(30)
    assert finalizers(cluster) == ["example.com/other"]


@in_simulated_time
async def test_a_claim_on_a_job_that_has_changed_is_made_again() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    cluster.before["set_record_finalizer"] = lambda: cluster.edit_job(backoffLimit=1)
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(30)
    assert endpoint.row()["spec"]["backoffLimit"] == 1


@in_simulated_time
async def test_a_claim_that_admission_removes_is_retried_with_back_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    claims = 0

    async def without_effect(job: JobView, *, present: bool) -> Object:
        nonlocal claims
        claims += 1
        await asyncio.sleep(0.1)
        return cluster.job()

    monkeypatch.setattr(cluster, "set_record_finalizer", without_effect)
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(60)
    assert 1 < claims < 20
    assert cluster.pods() == []
    [said] = cluster.status()["conditions"]
    assert said["reason"] == "Forbidden"
    assert said["message"].endswith("was added, but is missing in the response")


def refuse_finalizers(cluster: FakeCluster, times: float = math.inf) -> None:
    message = 'admission webhook "no.finalizers" denied the request: none here'
    cluster.fail_next("set_record_finalizer", ForbiddenError(message, status=403), times=times)


@in_simulated_time
async def test_the_status_of_a_job_that_cannot_be_claimed_says_so_until_it_can_be() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    refuse_finalizers(cluster, times=4)
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(200)
        [said] = cluster.status()["conditions"]
        assert (said["type"], said["status"], said["reason"]) == (
            "PodsReady",
            "False",
            "Forbidden",
        )
        assert said["message"].startswith("the finalizer trainingjob.dev/record cannot be added")
        assert said["message"].endswith('"no.finalizers" denied the request: none here')
        assert cluster.status()["phase"] == "Pending"
        assert cluster.pods() == []
        assert cluster.reasons(warnings=True) == ["Forbidden"], "once"
        asked = Counter(call.method for call in cluster.calls)
        assert (asked["set_record_finalizer"], asked["patch_job_status"]) == (4, 1)
        await asyncio.sleep(100)
        assert cluster.status()["phase"] == "Succeeded"
    assert endpoint.row()["phase"] == "Succeeded"


@in_simulated_time
async def test_a_job_that_may_not_be_claimed_starts_when_its_user_gives_its_record_up() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    refuse_finalizers(cluster)
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(10)
        cluster.annotate_job(**{ANNOTATION_DISCARD_RECORD: "true"})
        await asyncio.sleep(100)
    assert cluster.status()["phase"] == "Succeeded"
    assert endpoint.rows == {}


@in_simulated_time
async def test_a_running_job_that_cannot_be_claimed_gets_an_event() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    async with running_operator(cluster, None, exit_code=None):
        cluster.create_job(make_job())
        await asyncio.sleep(10)
    refuse_finalizers(cluster)
    async with running_operator(cluster, endpoint, exit_code=None):
        await asyncio.sleep(10)
    assert cluster.reasons(warnings=True) == ["FinalizerRefused"]
    conditions = {c["type"]: c["status"] for c in cluster.status()["conditions"]}
    assert conditions["PodsReady"] == "True", "its ranks are what they are"


@in_simulated_time
async def test_a_job_that_cannot_be_released_gets_an_event() -> None:
    cluster, endpoint = new_cluster_and_endpoint()
    async with running_operator(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(1)
        assert finalizers(cluster) == [FINALIZER_RECORD]
        refuse_finalizers(cluster, times=1)
        await asyncio.sleep(30)
        assert persisted(cluster) == ("True", "Stored")
        assert cluster.reasons(warnings=True) == ["FinalizerRefused"]
        assert "cannot be removed" in cluster.events[-1]["message"]
        await asyncio.sleep(60)
        assert finalizers(cluster) == []
