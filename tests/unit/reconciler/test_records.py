"""Nothing is lost: the record, from its claim to its release, with every interleaving staged."""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.builders import make_job
from tests.support.cluster import FakeCluster
from tests.support.endpoint import FakeEndpoint
from tests.support.kubelet import Kubelet
from tests.support.leaping import LoopClock, leaping_time
from tests.support.operator_life import OperatorLife
from trainingjob_operator.constants import ANNOTATION_DISCARD_RECORD, FINALIZER_RECORD
from trainingjob_operator.core.job import JobView
from trainingjob_operator.errors import (
    ConflictError,
    EndpointUnauthorizedError,
    EndpointUnavailableError,
    ForbiddenError,
    RecordConflictError,
    RecordRejectedError,
)

Object = dict[str, Any]
DOWN = EndpointUnavailableError("cannot be reached")
DAY_S = 86_400.0


def staged() -> tuple[FakeCluster, FakeEndpoint]:
    cluster = FakeCluster(LoopClock())
    return cluster, FakeEndpoint(cluster)


@asynccontextmanager
async def operated(
    cluster: FakeCluster,
    endpoint: FakeEndpoint | None,
    *,
    exit_code: int | None = 0,
    run_s: float = 2.0,
    **settings: Any,
) -> AsyncIterator[OperatorLife]:
    """An operator with a record endpoint, and a kubelet that runs every pod for two seconds."""
    async with OperatorLife(cluster, endpoint=endpoint, **settings) as life:
        kubelet = asyncio.create_task(
            Kubelet(cluster, lambda attempt, rank: exit_code, run_s=run_s).run()
        )
        try:
            yield life
        finally:
            kubelet.cancel()
            await asyncio.wait([kubelet])


async def run_in_no_time(cluster: FakeCluster) -> None:
    """A job whose pod runs and completes as soon as it is there."""
    cluster.create_job(make_job())
    await asyncio.sleep(0.1)
    cluster.run_pod(cluster.pod())
    cluster.finish_pod(cluster.pod())
    await asyncio.sleep(100)


def persisted(cluster: FakeCluster, name: str = "mnist") -> tuple[str, str]:
    found = [c for c in cluster.status(name)["conditions"] if c["type"] == "Persisted"]
    return found[0]["status"], found[0]["reason"]


def finalizers(cluster: FakeCluster, name: str = "mnist") -> list[str]:
    found: list[str] = cluster.job(name)["metadata"].get("finalizers", [])
    return found


def is_gone(cluster: FakeCluster, name: str = "mnist") -> bool:
    return all(job["metadata"]["name"] != name for job in cluster.jobs())


# --- the way it should be -----------------------------------------------------------------------


@leaping_time
async def test_a_finished_job_leaves_a_record_and_is_let_go() -> None:
    cluster, endpoint = staged()
    async with operated(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(30)
    row = endpoint.row()
    status = cluster.status()
    assert (status["recordState"], status["recordRevision"]) == ("Stored", 1)
    assert persisted(cluster) == ("True", "Stored")
    assert finalizers(cluster) == []
    assert (row["phase"], row["reason"], row["exitCode"]) == ("Succeeded", "CompletionsReached", 0)
    assert row["completedAt"] == status["completionTime"]
    assert row["uid"] == cluster.job()["metadata"]["uid"]


@leaping_time
async def test_a_prompt_endpoint_costs_a_job_of_one_pod_five_requests() -> None:
    cluster, endpoint = staged()
    async with operated(cluster, endpoint):
        await asyncio.sleep(1)
        cluster.calls.clear()
        await run_in_no_time(cluster)
    assert [call.method for call in cluster.calls] == [
        "set_finalizers",
        "create_pod",
        "patch_job_status",
        "put_record",
        "patch_job_status",
        "set_finalizers",
    ]


@leaping_time
async def test_a_slow_endpoint_costs_a_job_of_one_pod_six_requests() -> None:
    cluster, endpoint = staged()
    endpoint.delay_s = 1.0
    async with operated(cluster, endpoint):
        await asyncio.sleep(1)
        cluster.calls.clear()
        await run_in_no_time(cluster)
    counted = Counter(call.method for call in cluster.calls)
    assert counted.pop("put_record") == 2  # at once, and then in earnest
    assert counted == {"set_finalizers": 2, "create_pod": 1, "patch_job_status": 3}
    assert cluster.status()["recordState"] == "Stored"


@leaping_time
async def test_the_claim_is_on_the_job_before_its_first_pod() -> None:
    cluster, endpoint = staged()
    claimed: list[bool] = []
    cluster.before["create_pod"] = lambda: claimed.append(FINALIZER_RECORD in finalizers(cluster))
    async with operated(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(30)
    assert claimed == [True]


@leaping_time
async def test_other_finalizers_stay_where_they_are() -> None:
    cluster, endpoint = staged()
    job = make_job()
    job["metadata"]["finalizers"] = ["example.com/other"]
    async with operated(cluster, endpoint):
        cluster.create_job(job)
        await asyncio.sleep(1)
        assert finalizers(cluster) == ["example.com/other", FINALIZER_RECORD]
        await asyncio.sleep(30)
    assert finalizers(cluster) == ["example.com/other"]


@leaping_time
async def test_a_claim_on_a_job_that_has_changed_is_made_again() -> None:
    cluster, endpoint = staged()
    cluster.before["set_finalizers"] = lambda: cluster.edit_job(backoffLimit=1)
    async with operated(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(30)
    assert endpoint.row()["spec"]["backoffLimit"] == 1


@leaping_time
async def test_a_claim_that_somebodys_admission_takes_off_again_is_not_made_at_once_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster, endpoint = staged()
    claims = 0

    async def without_effect(job: JobView, finalizers: Sequence[str]) -> Object:
        nonlocal claims
        claims += 1
        await asyncio.sleep(0.1)
        return cluster.job()

    monkeypatch.setattr(cluster, "set_finalizers", without_effect)
    async with operated(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(60)
    assert 1 < claims < 20
    assert cluster.pods() == []
    [said] = cluster.status()["conditions"]
    assert said["reason"] == "Forbidden"
    assert said["message"].endswith("was put on and is not there")


def refuse_finalizers(cluster: FakeCluster, times: float = math.inf) -> None:
    message = 'admission webhook "no.finalizers" denied the request: none here'
    cluster.fail_next("set_finalizers", ForbiddenError(message, status=403), times=times)


@leaping_time
async def test_a_job_that_may_not_be_claimed_says_what_it_waits_for_and_starts_when_it_may() -> (
    None
):
    cluster, endpoint = staged()
    refuse_finalizers(cluster, times=4)
    async with operated(cluster, endpoint) as life:
        cluster.create_job(make_job())
        await asyncio.sleep(200)
        [said] = cluster.status()["conditions"]
        assert (said["type"], said["status"], said["reason"]) == (
            "PodsReady",
            "False",
            "Forbidden",
        )
        assert said["message"].startswith("the finalizer trainingjob.dev/record may not be put")
        assert said["message"].endswith('"no.finalizers" denied the request: none here')
        assert cluster.status()["phase"] == "Pending"
        assert cluster.pods() == []
        warnings = [event for event in life.recorded.events if event.warning]
        assert [event.reason for event in warnings] == ["Forbidden"], "once"
        asked = Counter(call.method for call in cluster.calls)
        assert (asked["set_finalizers"], asked["patch_job_status"]) == (4, 1)
        await asyncio.sleep(100)
        assert cluster.status()["phase"] == "Succeeded"
    assert endpoint.row()["phase"] == "Succeeded"


@leaping_time
async def test_a_job_that_may_not_be_claimed_starts_when_its_user_gives_its_record_up() -> None:
    cluster, endpoint = staged()
    refuse_finalizers(cluster)
    async with operated(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(10)
        cluster.annotate_job(**{ANNOTATION_DISCARD_RECORD: "true"})
        await asyncio.sleep(100)
    assert cluster.status()["phase"] == "Succeeded"
    assert endpoint.rows == {}


@leaping_time
async def test_a_job_that_runs_and_may_not_be_claimed_is_told_so_by_an_event() -> None:
    cluster, endpoint = staged()
    async with operated(cluster, None, exit_code=None):
        cluster.create_job(make_job())
        await asyncio.sleep(10)
    refuse_finalizers(cluster)
    async with operated(cluster, endpoint, exit_code=None) as life:
        await asyncio.sleep(10)
    [event] = [event for event in life.recorded.events if event.warning]
    assert event.reason == "FinalizerRefused"
    conditions = {c["type"]: c["status"] for c in cluster.status()["conditions"]}
    assert conditions["PodsReady"] == "True", "its ranks are what they are"


@leaping_time
async def test_a_job_that_may_not_be_let_go_is_told_so_by_an_event() -> None:
    cluster, endpoint = staged()
    async with operated(cluster, endpoint) as life:
        cluster.create_job(make_job())
        await asyncio.sleep(1)
        assert finalizers(cluster) == [FINALIZER_RECORD]
        refuse_finalizers(cluster, times=1)
        await asyncio.sleep(30)
        assert persisted(cluster) == ("True", "Stored")
        [event] = [event for event in life.recorded.events if event.warning]
        assert event.reason == "FinalizerRefused"
        assert "may not be taken off" in event.message
        await asyncio.sleep(60)
        assert finalizers(cluster) == []


@leaping_time
async def test_a_failed_job_leaves_a_record_too() -> None:
    cluster, endpoint = staged()
    async with operated(cluster, endpoint, exit_code=3):
        cluster.create_job(make_job(backoff_limit=0))
        await asyncio.sleep(30)
    assert endpoint.row()["phase"] == "Failed"
    assert endpoint.row()["exitCode"] == 3
    assert finalizers(cluster) == []


# --- the endpoint is down -----------------------------------------------------------------------


@leaping_time
async def test_jobs_finish_in_time_while_the_endpoint_is_down_and_are_stored_when_it_is_back() -> (
    None
):
    cluster, endpoint = staged()
    endpoint.down = DOWN
    async with operated(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(5)
        assert cluster.status()["phase"] == "Succeeded"
        assert cluster.status()["recordState"] == "Pending"
        assert FINALIZER_RECORD in finalizers(cluster)
        await asyncio.sleep(6 * 3600)
        endpoint.down = None
        await asyncio.sleep(60)
    assert cluster.status()["recordState"] == "Stored"
    assert len(endpoint.writes) == 1


@leaping_time
async def test_an_endpoint_that_is_down_is_probed_now_and_then_and_not_once_for_every_record() -> (
    None
):
    cluster, endpoint = staged()
    endpoint.down = DOWN
    async with operated(cluster, endpoint):
        for number in range(50):
            cluster.create_job(make_job(f"job-{number}"))
        await asyncio.sleep(120)
        endpoint.tries = 0
        await asyncio.sleep(3600)
        assert 100 <= endpoint.tries <= 130  # one every 30 s


@leaping_time
async def test_a_job_that_ends_in_an_outage_says_so_in_its_condition() -> None:
    cluster, endpoint = staged()
    endpoint.down = EndpointUnauthorizedError("HTTP 401")
    async with operated(cluster, endpoint):
        cluster.create_job(make_job("first"))
        await asyncio.sleep(30)
        cluster.create_job(make_job("second"))
        await asyncio.sleep(30)
    assert persisted(cluster, "first") == ("False", "Pending")
    assert persisted(cluster, "second") == ("False", "Unavailable")


@leaping_time
async def test_retry_after_is_honoured() -> None:
    cluster, endpoint = staged()
    endpoint.down = EndpointUnavailableError("HTTP 503", retry_after_s=120.0)
    async with operated(cluster, endpoint, exit_code=1):
        cluster.create_job(make_job(backoff_limit=0))
        await asyncio.sleep(10)
        endpoint.down, tries = None, endpoint.tries
        await asyncio.sleep(100)
        assert endpoint.tries == tries
        await asyncio.sleep(60)
    assert cluster.status()["recordState"] == "Stored"


@leaping_time
async def test_five_thousand_records_pass_through_a_cache_of_a_thousand() -> None:
    cluster, endpoint = staged()
    endpoint.down = DOWN
    async with operated(cluster, endpoint, max_jobs=6000, retry_cache_size=100) as life:
        assert life.carrier is not None
        for number in range(500):
            cluster.create_job(make_job(f"job-{number:04}"))
        await asyncio.sleep(60)
        assert len(life.carrier.cache) == 100
        assert life.carrier.cache.evicted_total == 400
        assert len(endpoint.rows) == 0
        endpoint.down = None
        await asyncio.sleep(60)
        assert len(endpoint.rows) == 500
        assert {job["status"]["recordState"] for job in cluster.jobs()} == {"Stored"}
        assert len(life.carrier.cache) == 0
    assert endpoint.most_in_flight <= 8


@leaping_time
async def test_what_was_evicted_behind_the_cursor_is_not_left_until_the_next_round() -> None:
    """The list of the start is half read when the cache is full; then others push its keys out."""
    cluster, endpoint = staged()
    endpoint.down = DOWN
    async with operated(cluster, endpoint):
        for number in range(12):
            cluster.create_job(make_job(f"early-{number:02}"))
        await asyncio.sleep(30)
    async with operated(cluster, endpoint, retry_cache_size=8):
        for number in range(12):
            cluster.create_job(make_job(f"late-{number:02}"))
        await asyncio.sleep(30)
        endpoint.down = None
        await asyncio.sleep(90)
        assert {job["status"]["recordState"] for job in cluster.jobs()} == {"Stored"}


@leaping_time
async def test_keys_that_nothing_waits_for_any_more_make_room_for_others_at_once() -> None:
    cluster, endpoint = staged()
    endpoint.down = DOWN
    async with operated(cluster, endpoint):
        for number in range(12):
            cluster.create_job(make_job(f"job-{number:02}"))
        await asyncio.sleep(30)
    async with operated(cluster, endpoint, retry_cache_size=4):
        await asyncio.sleep(10)
        for number in range(4):  # the very ones that the cache holds
            cluster.annotate_job(f"job-{number:02}", **{ANNOTATION_DISCARD_RECORD: "true"})
        await asyncio.sleep(1)
        endpoint.down = None
        await asyncio.sleep(90)
    assert len(endpoint.rows) == 8


@leaping_time
async def test_what_waits_is_found_by_the_next_process() -> None:
    cluster, endpoint = staged()
    endpoint.down = DOWN
    async with operated(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(30)
    await asyncio.sleep(2 * 3600)  # finished jobs of then do not come back into the index
    endpoint.down = None
    async with operated(cluster, endpoint):
        await asyncio.sleep(30)
    assert cluster.status()["recordState"] == "Stored"
    assert finalizers(cluster) == []


@leaping_time
async def test_an_answer_that_is_lost_makes_no_second_row() -> None:
    cluster, endpoint = staged()
    endpoint.lost = 3
    async with operated(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(60)
    assert len(endpoint.rows) == 1
    assert len(endpoint.writes) == 4
    assert cluster.status()["recordState"] == "Stored"


# --- one record is not taken --------------------------------------------------------------------


@leaping_time
async def test_a_rejected_record_says_why_and_holds_up_no_other() -> None:
    cluster, endpoint = staged()
    endpoint.down = RecordRejectedError("HTTP 422: name is too long")
    async with operated(cluster, endpoint):
        cluster.create_job(make_job("odd"))
        await asyncio.sleep(30)
        assert cluster.status("odd")["recordState"] == "Rejected"
        assert persisted(cluster, "odd") == ("False", "Rejected")
        assert FINALIZER_RECORD in finalizers(cluster, "odd")
        endpoint.down = None
        cluster.create_job(make_job("even"))
        await asyncio.sleep(30)
        assert cluster.status("even")["recordState"] == "Stored"
        tries = endpoint.tries
        await asyncio.sleep(DAY_S / 2)
        assert endpoint.tries == tries, "it is not offered again before the day is over"
        await asyncio.sleep(DAY_S)
    assert cluster.status("odd")["recordState"] == "Stored"
    assert finalizers(cluster, "odd") == []


@leaping_time
async def test_a_rejected_record_is_offered_again_by_the_next_process() -> None:
    cluster, endpoint = staged()
    endpoint.down = RecordRejectedError("HTTP 413")
    async with operated(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(30)
    endpoint.down = None
    async with operated(cluster, endpoint):
        await asyncio.sleep(30)
    assert cluster.status()["recordState"] == "Stored"


@leaping_time
async def test_a_receiver_that_knows_another_first_revision_is_given_a_second_one() -> None:
    cluster, endpoint = staged()
    async with operated(cluster, endpoint):
        job = cluster.create_job(make_job())
        endpoint.rows[job["metadata"]["uid"]] = {
            "uid": job["metadata"]["uid"],
            "name": "mnist",
            "revision": 1,
            "phase": "Failed",
        }
        await asyncio.sleep(30)
    assert (endpoint.row()["revision"], endpoint.row()["phase"]) == (2, "Succeeded")
    assert cluster.status()["recordRevision"] == 2
    assert cluster.status()["recordState"] == "Stored"


@leaping_time
async def test_a_receiver_that_answers_with_nothing_but_conflicts_has_rejected_the_record() -> (
    None
):
    cluster, endpoint = staged()
    endpoint.down = RecordConflictError("HTTP 409: no")
    async with operated(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(600)
    assert cluster.status()["recordState"] == "Rejected"
    assert endpoint.tries <= 4


# --- the job is deleted -------------------------------------------------------------------------


@leaping_time
async def test_a_job_that_is_deleted_while_it_runs_leaves_a_record_of_that() -> None:
    cluster, endpoint = staged()
    async with operated(cluster, endpoint, exit_code=None):
        cluster.create_job(make_job(nodes=2))
        await asyncio.sleep(10)
        cluster.delete_job()
        await asyncio.sleep(60)
    assert is_gone(cluster)
    assert cluster.pods() == []
    assert (endpoint.row()["phase"], endpoint.row()["reason"]) == ("Cancelled", "Deleted")


@leaping_time
async def test_a_job_that_is_deleted_before_its_first_pod_is_let_go_without_a_record() -> None:
    cluster, endpoint = staged()
    cluster.pod_quota = 0
    async with operated(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(5)
        assert FINALIZER_RECORD in finalizers(cluster)
        cluster.delete_job()
        await asyncio.sleep(5)
    assert is_gone(cluster)
    assert endpoint.rows == {}


@leaping_time
async def test_a_deletion_waits_for_the_endpoint() -> None:
    cluster, endpoint = staged()
    endpoint.down = DOWN
    async with operated(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(30)
        cluster.delete_job()
        await asyncio.sleep(3600)
        assert not is_gone(cluster)
        endpoint.down = None
        await asyncio.sleep(60)
    assert is_gone(cluster)
    assert endpoint.row()["phase"] == "Succeeded"


@leaping_time
async def test_a_deletion_is_honoured_after_a_day_loudly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster, endpoint = staged()
    endpoint.down = DOWN
    async with operated(cluster, endpoint) as life:
        job = cluster.create_job(make_job())
        await asyncio.sleep(30)
        cluster.delete_job()
        await asyncio.sleep(DAY_S - 10)
        assert not is_gone(cluster)
        await asyncio.sleep(3700)
        assert is_gone(cluster)
        assert "RecordAbandoned" in {event.reason for event in life.recorded.events}
    assert f'"uid": "{job["metadata"]["uid"]}"' in caplog.text


@leaping_time
async def test_a_rejected_job_that_is_deleted_goes_at_once_loudly() -> None:
    cluster, endpoint = staged()
    endpoint.down = RecordRejectedError("HTTP 422")
    async with operated(cluster, endpoint) as life:
        cluster.create_job(make_job())
        await asyncio.sleep(30)
        cluster.delete_job()
        await asyncio.sleep(5)
        assert is_gone(cluster)
        assert "RecordAbandoned" in {event.reason for event in life.recorded.events}


@leaping_time
async def test_a_job_whose_user_gives_the_record_up_is_let_go() -> None:
    cluster, endpoint = staged()
    endpoint.down = DOWN
    async with operated(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(30)
        cluster.annotate_job(**{ANNOTATION_DISCARD_RECORD: "true"})
        await asyncio.sleep(5)
    assert persisted(cluster) == ("False", "Discarded")
    assert cluster.status()["recordState"] == "NotRequired"
    assert finalizers(cluster) == []


# --- recording is switched on and off -----------------------------------------------------------


@leaping_time
async def test_without_an_endpoint_nothing_is_claimed_and_nothing_owed() -> None:
    cluster, _ = staged()
    async with operated(cluster, None):
        cluster.create_job(make_job())
        await asyncio.sleep(30)
    assert cluster.status()["recordState"] == "NotRequired"
    assert persisted(cluster) == ("False", "NotRequired")
    assert finalizers(cluster) == []


@leaping_time
async def test_jobs_that_run_when_recording_is_switched_on_leave_a_record() -> None:
    cluster, endpoint = staged()
    async with operated(cluster, None, exit_code=None):
        cluster.create_job(make_job())
        await asyncio.sleep(10)
    async with operated(cluster, endpoint, exit_code=0):
        await asyncio.sleep(30)
    assert endpoint.row()["phase"] == "Succeeded"


@leaping_time
async def test_what_is_owed_is_owed_after_recording_is_switched_off() -> None:
    cluster, endpoint = staged()
    async with operated(cluster, endpoint, exit_code=None):
        cluster.create_job(make_job())
        await asyncio.sleep(10)
    async with operated(cluster, None, exit_code=0):
        await asyncio.sleep(30)
        assert cluster.status()["recordState"] == "Pending"
        assert FINALIZER_RECORD in finalizers(cluster)
    async with operated(cluster, endpoint):
        await asyncio.sleep(30)
    assert cluster.status()["recordState"] == "Stored"


@leaping_time
async def test_news_of_a_record_survive_a_conflict() -> None:
    cluster, endpoint = staged()
    endpoint.delay_s = 1.0
    conflict = ConflictError("has been modified", status=409)
    async with operated(cluster, endpoint):
        cluster.create_job(make_job())
        await asyncio.sleep(3.2)
        cluster.fail_next("patch_job_status", conflict)
        await asyncio.sleep(30)
    assert cluster.status()["recordState"] == "Stored"
    assert len(endpoint.writes) <= 2
