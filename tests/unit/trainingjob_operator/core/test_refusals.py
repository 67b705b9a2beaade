"""Refusals of the API server: reported, retried, and fatal only if waiting does not help."""

from dataclasses import replace

import pytest

from tests.support.views import at, decide, make_pod, make_status, make_view, succeeded
from trainingjob_api.constants import (
    CONDITION_FAILED,
    CONDITION_PODS_READY,
    REASON_FORBIDDEN,
    REASON_INVALID_POD_TEMPLATE,
    REASON_POD_NAME_CONFLICT,
    REASON_QUEUED,
    REASON_QUOTA_EXCEEDED,
)
from trainingjob_operator.core.decision import Refusal
from trainingjob_operator.core.refusals import changed_wait_s


def make_refusal(
    reason: str = REASON_QUOTA_EXCEEDED,
    *,
    retry_s: float = 60,
    fatal: bool = False,
    attempt: int = 0,
    generation: int = 1,
    changed_s: float = 0,
) -> Refusal:
    return Refusal(
        reason=reason,
        message="no room",
        retry_at=at(retry_s),
        fatal=fatal,
        attempt=attempt,
        generation=generation,
        refused_at=at(retry_s - 60),
        changed_retry_at=at(changed_s),
    )


@pytest.mark.parametrize(
    "reason", [REASON_QUOTA_EXCEEDED, REASON_FORBIDDEN, REASON_POD_NAME_CONFLICT]
)
def test_a_temporary_refusal_sets_a_condition_and_is_retried_later(
    reason: str,
) -> None:
    decided = decide(make_view(nodes=2), make_pod(0), refusal=make_refusal(reason))

    ready = decided.status.condition(CONDITION_PODS_READY)
    assert ready is not None
    assert not ready.status
    assert (ready.reason, ready.message) == (reason, "no room")
    assert decided.create == ()
    assert decided.requeue_at == at(60)
    assert decided.status.phase == "Pending"
    assert decided.status.launched_attempt is None


@pytest.mark.parametrize(
    "retry_s", [pytest.param(0, id="when it is time"), pytest.param(-1, id="after it was time")]
)
def test_a_refused_pod_is_retried(retry_s: float) -> None:
    decided = decide(make_view(nodes=2), make_pod(0), refusal=make_refusal(retry_s=retry_s))

    assert decided.create == (1,)


def test_a_refusal_is_ignored_once_every_pod_exists() -> None:
    decided = decide(make_view(), make_pod(), refusal=make_refusal())

    assert decided.status.is_true(CONDITION_PODS_READY)
    assert decided.requeue_at is None


def test_a_refusal_of_the_template_itself_fails_the_job() -> None:
    refusal = make_refusal(REASON_INVALID_POD_TEMPLATE, fatal=True)

    decided = decide(make_view(nodes=2), make_pod(0), refusal=refusal)

    outcome = decided.status.condition(CONDITION_FAILED)
    assert outcome is not None
    assert (outcome.reason, outcome.message) == (REASON_INVALID_POD_TEMPLATE, "no room")
    assert len(decided.delete) == 1


def test_a_deadline_fails_a_job_whose_pods_are_refused() -> None:
    status = make_status(start_time=at(-10))

    decided = decide(
        make_view(status, nodes=2, active_deadline_s=5), make_pod(0), refusal=make_refusal()
    )

    assert decided.status.is_true(CONDITION_FAILED)


def test_the_pre_running_deadline_runs_while_a_quota_is_full_but_not_while_the_job_is_queued() -> (
    None
):
    job = make_view(make_status(attempt_start_time=at(-5)), nodes=2, pre_running_deadline_s=60)

    refused = decide(job, refusal=make_refusal(REASON_QUOTA_EXCEEDED, retry_s=600))
    queued = decide(job, refusal=make_refusal(REASON_QUEUED, retry_s=600))

    assert (refused.status.attempt_start_time, refused.requeue_at) == (at(-5), at(55))
    assert (queued.status.attempt_start_time, queued.requeue_at) == (None, at(600))


def test_a_refusal_does_not_hinder_a_suspension_or_a_shutdown() -> None:
    suspended = decide(make_view(suspend=True), refusal=make_refusal())
    stopped = decide(make_view(shutdown="Stop"), refusal=make_refusal(fatal=True))

    assert suspended.status.phase == "Suspended"
    assert stopped.status.phase == "Cancelled"


def test_a_refused_rank_beside_completed_ones_leaves_them_completed() -> None:
    decided = decide(make_view(nodes=2), succeeded(0), refusal=make_refusal())

    assert decided.status.completed_indexes == "0"
    assert decided.status.attempt == 0


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(make_refusal(attempt=0), id="of the last attempt"),
        pytest.param(make_refusal(attempt=1, generation=4), id="of the job as it was"),
        pytest.param(make_refusal(fatal=True), id="for good, of the last attempt"),
        pytest.param(
            make_refusal(attempt=1, generation=4, fatal=True), id="for good, of the job as it was"
        ),
    ],
)
def test_a_refusal_does_not_apply_to_another_attempt_or_generation(
    refusal: Refusal,
) -> None:
    job = make_view(make_status(attempt=1), generation=5)

    decided = decide(job, refusal=refusal)

    assert decided.create == (0,)
    ready = decided.status.condition(CONDITION_PODS_READY)
    assert ready is not None
    assert ready.message != "no room"


def test_repeated_changes_of_a_refused_job_do_not_cause_a_try_each() -> None:
    refusal = make_refusal(changed_s=4, fatal=True)

    decided = decide(make_view(generation=2), refusal=refusal)

    assert decided.create == ()
    assert decided.requeue_at == at(4)
    assert not decided.status.is_finished


def test_each_refused_change_doubles_the_wait_for_the_next_up_to_the_normal_wait() -> None:
    waits, refusal = [], make_refusal()
    for _ in range(9):
        waits.append(changed_wait_s(refusal, 0, now=at(1)))
        refusal = replace(refusal, changed_wait_s=waits[-1])

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert changed_wait_s(refusal, 1, now=at(1)) == 0, "of another attempt"
    assert changed_wait_s(refusal, 0, now=at(60)) == 60, "asked when it was time"
