"""The wait before a restart: it doubles, has a cap, and is computed from status alone."""

from datetime import timedelta

import pytest

from tests.support.views import (
    NOW,
    at,
    decide,
    deleted_names,
    failed,
    make_condition,
    make_pod,
    make_status,
    make_view,
)
from trainingjob_api.constants import CONDITION_RESTARTING, REASON_RESTARTED
from trainingjob_operator.core.decision import DecisionSettings
from trainingjob_operator.core.restart import may_start_at


@pytest.mark.parametrize(
    ("restarts", "disruptions", "wait_s"),
    [
        pytest.param(1, 0, 2, id="the first restart waits the base"),
        pytest.param(2, 0, 4, id="the second waits twice as long"),
        pytest.param(0, 3, 8, id="disruptions grow it too"),
        pytest.param(2, 2, 16, id="restarts and disruptions add up"),
        pytest.param(6, 0, 60, id="it never exceeds the cap"),
        pytest.param(100, 1_000_000, 60, id="not even after a million"),
        pytest.param(0, 0, 2, id="a status without counts waits the base"),
    ],
)
def test_the_wait_doubles_with_every_restart_and_disruption_up_to_a_cap(
    restarts: int, disruptions: int, wait_s: int
) -> None:
    status = make_status(
        make_condition(CONDITION_RESTARTING, since_s=0), restarts=restarts, disruptions=disruptions
    )
    policy = DecisionSettings(restart_backoff_s=2, restart_backoff_cap_s=60)

    assert may_start_at(status, policy) == at(wait_s)


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(make_status(), id="never restarted"),
        pytest.param(
            make_status(make_condition(CONDITION_RESTARTING, status=False), restarts=1),
            id="the restart is over",
        ),
    ],
)
def test_without_a_pending_restart_there_is_no_wait(status: object) -> None:
    assert may_start_at(status, DecisionSettings()) is None  # type: ignore[arg-type]


def test_pods_are_created_only_after_the_wait() -> None:
    status = make_status(
        make_condition(CONDITION_RESTARTING, since_s=-10),
        attempt=1,
        launched_attempt=0,
        restarts=5,
    )  # 16 s

    early = decide(make_view(status, nodes=2))
    late = decide(make_view(status, nodes=2), now=NOW + timedelta(seconds=6))

    assert (early.create, early.requeue_at) == ((), at(6))
    assert early.status.phase == "Restarting"
    assert late.create == (0, 1)


def test_no_pod_is_created_before_those_of_the_last_attempt_are_removed() -> None:
    status = make_status(
        make_condition(CONDITION_RESTARTING), attempt=1, launched_attempt=0, restarts=1
    )

    decided = decide(make_view(status, nodes=2), make_pod(1, attempt=0))

    assert decided.create == ()
    assert deleted_names(decided) == {make_pod(1, attempt=0).name}


def test_restarting_becomes_false_when_the_first_pod_of_the_attempt_exists() -> None:
    status = make_status(
        make_condition(CONDITION_RESTARTING), attempt=1, launched_attempt=0, restarts=1
    )

    decided = decide(make_view(status, nodes=2), make_pod(0, attempt=1))

    restarting = decided.status.condition(CONDITION_RESTARTING)
    assert restarting is not None
    assert not restarting.status
    assert restarting.reason == REASON_RESTARTED
    assert restarting.last_transition_time == NOW
    assert decided.create == (1,)
    assert decided.status.launched_attempt == 0


def test_a_restart_while_another_is_pending_restarts_the_wait() -> None:
    status = make_status(
        make_condition(CONDITION_RESTARTING, since_s=-30),
        attempt=1,
        launched_attempt=0,
        restarts=1,
    )

    decided = decide(make_view(status), failed(attempt=1))

    restarting = decided.status.condition(CONDITION_RESTARTING)
    assert restarting is not None
    assert restarting.last_transition_time == NOW
    assert may_start_at(decided.status, DecisionSettings()) == at(2)
    assert sum(c.type == CONDITION_RESTARTING for c in decided.status.conditions) == 1
