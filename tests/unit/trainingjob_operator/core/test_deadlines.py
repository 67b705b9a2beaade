"""The two deadlines of a job."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.views import (
    NOW,
    at,
    decide,
    deleted_names,
    deleting,
    make_condition,
    make_pod,
    make_status,
    make_view,
    pending,
)
from trainingjob_api.constants import (
    CONDITION_FAILED,
    CONDITION_RESTARTING,
    REASON_DEADLINE_EXCEEDED,
    REASON_POD_LOST,
    REASON_PRE_RUNNING_DEADLINE_EXCEEDED,
)
from trainingjob_operator.core.job import JobStatus
from trainingjob_operator.core.pod import PodView

STARTED = make_status(launched_attempt=0, start_time=at(-100), attempt_start_time=at(-100))


@pytest.mark.parametrize(
    ("deadline_s", "over"),
    [
        pytest.param(99, True, id="after it"),
        pytest.param(100, True, id="at the very moment"),
        pytest.param(101, False, id="a second before"),
    ],
)
def test_a_job_is_failed_when_its_active_deadline_is_over(deadline_s: int, *, over: bool) -> None:
    decided = decide(make_view(STARTED, active_deadline_s=deadline_s), make_pod())

    assert decided.status.is_true(CONDITION_FAILED) is over
    assert (decided.requeue_at is None) is over
    if over:
        outcome = decided.status.outcome
        assert outcome is not None
        assert outcome.reason == REASON_DEADLINE_EXCEEDED
        assert deleted_names(decided) == {make_pod().name}
    else:
        assert decided.requeue_at == at(1)


def test_the_active_deadline_spans_restarts_and_fails_the_job_at_once() -> None:
    status = make_status(
        make_condition(CONDITION_RESTARTING, since_s=0),
        attempt=3,
        launched_attempt=2,
        restarts=1,
        start_time=at(-100),
    )

    waiting = decide(make_view(status, active_deadline_s=101))
    over = decide(make_view(status, active_deadline_s=100))

    assert waiting.requeue_at == at(1)
    assert over.status.is_true(CONDITION_FAILED)
    assert over.status.restarts == 1


@pytest.mark.parametrize(
    "told", [{"shutdown": "Stop"}, {"shutdown": "Terminate"}, {"deleting": True}], ids=str
)
def test_an_ending_job_gets_no_passes_for_expired_deadlines(
    told: dict[str, Any],
) -> None:
    """The deadlines no longer apply, while a pod can be terminating for long (on a dead node for ever)."""
    status = make_status(launched_attempt=0, start_time=at(-100), attempt_start_time=at(-100))
    job = make_view(status, active_deadline_s=10, pre_running_deadline_s=10, nodes=2, **told)
    stopping = decide(job, deleting(make_pod()), now=at(0))
    assert not stopping.status.is_finished
    later = decide(replace(job, status=stopping.status), deleting(make_pod()), now=at(1))
    assert later.requeue_at is None or later.requeue_at > at(1)


def test_a_job_without_a_start_has_no_active_deadline() -> None:
    decided = decide(make_view(active_deadline_s=1))

    assert decided.create == (0,)
    assert decided.requeue_at is None


def test_the_pre_running_deadline_counts_from_the_start_of_the_attempt() -> None:
    status = make_status(launched_attempt=0, restarts=3, attempt_start_time=at(-10))
    job = make_view(status, nodes=2, pre_running_deadline_s=60)
    pods = (make_pod(0), pending(1))

    assert decide(job, *pods).requeue_at == at(50)
    over = decide(job, *pods, now=at(50))
    assert over.status.is_true(CONDITION_FAILED)


def test_the_attempt_start_time_is_set_when_pods_may_be_created_and_then_kept() -> None:
    first = decide(make_view(nodes=2, pre_running_deadline_s=60))

    assert first.status.attempt_start_time == NOW
    assert first.create == (0, 1)
    again = decide(
        make_view(first.status, nodes=2, pre_running_deadline_s=60),
        pending(0),
        pending(1),
        now=at(30),
    )
    assert again.status.attempt_start_time == NOW
    assert again.requeue_at == at(60)


RESTARTING = make_condition(CONDITION_RESTARTING, since_s=0)


@pytest.mark.parametrize(
    ("status", "pods", "again_s"),
    [
        pytest.param(
            make_status(RESTARTING, attempt=5, launched_attempt=4, disruptions=5),
            (),
            16,
            id="the wait before a restart",
        ),
        pytest.param(
            make_status(RESTARTING, attempt=1, launched_attempt=0, restarts=1),
            (deleting(make_pod(attempt=0), grace_s=600),),
            None,
            id="the grace period of the last attempt",
        ),
        pytest.param(
            make_status(launched_attempt=0, attempt_start_time=at(-1000)),
            (pending(gated=True),),
            None,
            id="scheduling gates",
        ),
    ],
)
def test_what_keeps_an_attempt_from_starting_is_not_counted(
    status: JobStatus, pods: tuple[PodView, ...], again_s: float | None
) -> None:
    decided = decide(make_view(status, pre_running_deadline_s=1, backoff_limit=0), *pods)

    assert not decided.status.is_finished
    assert decided.status.attempt == status.attempt
    assert decided.status.attempt_start_time is None
    assert decided.requeue_at == (None if again_s is None else at(again_s))


def test_the_deadline_starts_again_when_the_gates_are_removed() -> None:
    job = make_view(make_status(launched_attempt=0), pre_running_deadline_s=60)

    decided = decide(job, pending(unschedulable="no node fits"))

    assert decided.status.attempt_start_time == NOW
    assert decided.requeue_at == at(60)


def test_the_pre_running_deadline_counts_as_a_failure_and_starts_again_with_the_next_attempt() -> (
    None
):
    status = make_status(launched_attempt=0, attempt_start_time=at(-60))
    job = make_view(status, nodes=2, pre_running_deadline_s=60, backoff_limit=1)

    decided = decide(job, make_pod(0), pending(1))

    restarting = decided.status.condition(CONDITION_RESTARTING)
    assert restarting is not None
    assert restarting.reason == REASON_PRE_RUNNING_DEADLINE_EXCEEDED
    assert (decided.status.attempt, decided.status.restarts) == (1, 1)
    assert decided.status.attempt_start_time is None
    assert len(decided.delete) == 2


def test_a_suspended_job_has_no_deadline() -> None:
    status = make_status(attempt_start_time=at(-60))

    decided = decide(make_view(status, suspend=True, pre_running_deadline_s=1))

    assert decided.status.attempt_start_time is None
    assert decided.status.phase == "Suspended"


def test_the_pre_running_deadline_fails_the_job_when_no_restart_is_left() -> None:
    job = make_view(
        make_status(launched_attempt=0, restarts=1, attempt_start_time=at(-60)),
        pre_running_deadline_s=60,
        backoff_limit=1,
    )

    outcome = decide(job, pending()).status.outcome

    assert outcome is not None
    assert outcome.reason == REASON_PRE_RUNNING_DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(
            make_status(launched_attempt=0, attempt_start_time=at(-60)), id="every rank runs"
        ),
        pytest.param(
            make_status(launched_attempt=0, attempt_start_time=at(-60), completed_indexes="1"),
            id="or has completed",
        ),
    ],
)
def test_the_pre_running_deadline_is_met_once_every_rank_has_run(status: object) -> None:
    job = make_view(status, nodes=2, pre_running_deadline_s=60)  # type: ignore[arg-type]
    pods = [make_pod(0, ready=False), make_pod(1)][: 1 if job.status.completed_indexes else 2]

    decided = decide(job, *pods)

    assert not decided.status.is_finished
    assert decided.status.attempt == 0
    assert decided.requeue_at is None


def test_the_pre_running_deadline_holds_for_a_job_whose_pods_are_refused() -> None:
    status = make_status(attempt_start_time=at(-60))

    decided = decide(make_view(status, nodes=2, pre_running_deadline_s=60, backoff_limit=0))

    assert decided.status.is_true(CONDITION_FAILED)
    assert decided.create == ()


def test_a_lost_rank_is_distinguished_from_one_that_has_never_run() -> None:
    job = make_view(STARTED, nodes=2, pre_running_deadline_s=1)

    decided = decide(job, make_pod(0), pods_are_live=True)

    restarting = decided.status.condition(CONDITION_RESTARTING)
    assert restarting is not None
    assert restarting.reason == REASON_POD_LOST
    assert decided.status.restarts == 0
