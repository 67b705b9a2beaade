"""The two deadlines of a job."""

from datetime import timedelta

import pytest

from tests.support.views import (
    CREATED_S,
    NOW,
    at,
    decide,
    deleted_names,
    make_condition,
    make_pod,
    make_status,
    make_view,
    pending,
)
from trainingjob_operator.constants import (
    CONDITION_FAILED,
    CONDITION_RESTARTING,
    CONDITION_SUSPENDED,
    REASON_DEADLINE_EXCEEDED,
    REASON_POD_LOST,
    REASON_PRE_RUNNING_DEADLINE_EXCEEDED,
)
from trainingjob_operator.core.job import Condition

STARTED = make_status(launched_attempt=0, start_time=at(-100))


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
    assert (decided.look_again_at is None) is over
    if over:
        outcome = decided.status.outcome
        assert outcome is not None
        assert outcome.reason == REASON_DEADLINE_EXCEEDED
        assert deleted_names(decided) == {make_pod().name}
    else:
        assert decided.look_again_at == at(1)


def test_the_active_deadline_goes_on_over_restarts_and_spends_no_try() -> None:
    status = make_status(
        make_condition(CONDITION_RESTARTING, since_s=0),
        attempt=3,
        launched_attempt=2,
        restarts=1,
        start_time=at(-100),
    )

    waiting = decide(make_view(status, active_deadline_s=101))
    over = decide(make_view(status, active_deadline_s=100))

    assert waiting.look_again_at == at(1)
    assert over.status.is_true(CONDITION_FAILED)
    assert over.status.restarts == 1


def test_a_job_without_a_start_has_no_active_deadline() -> None:
    decided = decide(make_view(active_deadline_s=1))

    assert decided.create == (0,)
    assert decided.look_again_at is None


@pytest.mark.parametrize(
    ("conditions", "since_s"),
    [
        pytest.param([], CREATED_S, id="from the job's creation"),
        pytest.param(
            [make_condition(CONDITION_RESTARTING, status=False, since_s=-20)],
            -20,
            id="from the end of a restart's wait",
        ),
        pytest.param(
            [make_condition(CONDITION_SUSPENDED, status=False, since_s=-10)],
            -10,
            id="from a resume",
        ),
        pytest.param(
            [
                make_condition(CONDITION_SUSPENDED, status=False, since_s=-40),
                make_condition(CONDITION_RESTARTING, status=False, since_s=-20),
            ],
            -20,
            id="from whichever came last",
        ),
    ],
)
def test_the_pre_running_deadline_counts_from_when_the_attempt_was_due(
    conditions: list[Condition], since_s: int
) -> None:
    status = make_status(*conditions, launched_attempt=0, restarts=3)
    job = make_view(status, nodes=2, pre_running_deadline_s=7200)
    pods = (make_pod(0), pending(1))

    assert decide(job, *pods).look_again_at == at(since_s + 7200)
    over = decide(job, *pods, now=at(since_s + 7200))
    assert over.status.is_true(CONDITION_FAILED)


def test_the_pre_running_deadline_spends_a_try_and_moves_with_the_restart() -> None:
    job = make_view(
        make_status(launched_attempt=0), nodes=2, pre_running_deadline_s=60, backoff_limit=1
    )

    decided = decide(job, make_pod(0), pending(1))

    restarting = decided.status.condition(CONDITION_RESTARTING)
    assert restarting is not None
    assert restarting.reason == REASON_PRE_RUNNING_DEADLINE_EXCEEDED
    assert (decided.status.attempt, decided.status.restarts) == (1, 1)
    assert len(decided.delete) == 2
    assert decided.look_again_at == NOW + timedelta(seconds=60)


def test_the_job_is_failed_by_its_pre_running_deadline_when_no_try_is_left() -> None:
    job = make_view(
        make_status(launched_attempt=0, restarts=1), pre_running_deadline_s=60, backoff_limit=1
    )

    outcome = decide(job, pending()).status.outcome

    assert outcome is not None
    assert outcome.reason == REASON_PRE_RUNNING_DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(make_status(launched_attempt=0), id="every rank runs"),
        pytest.param(
            make_status(launched_attempt=0, completed_indexes="1"), id="or has completed"
        ),
    ],
)
def test_the_pre_running_deadline_is_met_once_every_rank_has_run(status: object) -> None:
    job = make_view(status, nodes=2, pre_running_deadline_s=60)  # type: ignore[arg-type]
    pods = [make_pod(0, ready=False), make_pod(1)][: 1 if job.status.completed_indexes else 2]

    decided = decide(job, *pods)

    assert not decided.status.is_finished
    assert decided.status.attempt == 0
    assert decided.look_again_at is None


def test_the_pre_running_deadline_holds_for_a_job_whose_pods_are_refused() -> None:
    decided = decide(make_view(nodes=2, pre_running_deadline_s=60, backoff_limit=0))

    assert decided.status.is_true(CONDITION_FAILED)
    assert decided.create == ()


def test_a_lost_rank_is_told_from_one_that_has_never_run() -> None:
    job = make_view(STARTED, nodes=2, pre_running_deadline_s=1)

    decided = decide(job, make_pod(0), pods_are_live=True)

    restarting = decided.status.condition(CONDITION_RESTARTING)
    assert restarting is not None
    assert restarting.reason == REASON_POD_LOST
    assert decided.status.restarts == 0
