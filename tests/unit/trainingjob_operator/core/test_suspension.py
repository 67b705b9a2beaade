"""`spec.suspend` deletes the pods and keeps the job; a resume is a new attempt."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.views import (
    NOW,
    at,
    decide,
    deleted_names,
    deleting,
    disrupted,
    failed,
    make_condition,
    make_pod,
    make_status,
    make_view,
    succeeded,
)
from trainingjob_api.constants import (
    CONDITION_COMPLETE,
    CONDITION_PODS_READY,
    CONDITION_RESTARTING,
    CONDITION_SUSPENDED,
    FINALIZER_RECORD,
    REASON_RESUMED,
    REASON_SUSPENDED,
)
from trainingjob_operator.core.attempt import should_run
from trainingjob_operator.core.decision import DecisionSettings, Observation, Plan
from trainingjob_operator.core.job import JobSpec, Shutdown, UnreadLogs
from trainingjob_operator.core.plan import plan
from trainingjob_operator.core.suspension import is_settled, suspended_at

LAUNCHED = make_status(launched_attempt=0, start_time=at(-100))
SUSPENDED = make_condition(CONDITION_SUSPENDED, reason=REASON_SUSPENDED)


def test_the_attempt_is_incremented_by_the_decision_that_deletes_the_pods() -> None:
    decided = decide(make_view(LAUNCHED, nodes=2, suspend=True), make_pod(0), succeeded(1))

    suspended = decided.status.condition(CONDITION_SUSPENDED)
    assert suspended is not None
    assert suspended.status
    assert suspended.reason == REASON_SUSPENDED
    assert decided.status.attempt == 1
    assert decided.status.completed_indexes == ""
    assert decided.status.start_time is None
    assert (decided.status.restarts, decided.status.disruptions) == (0, 0)
    assert decided.status.phase == "Suspended"
    assert not decided.status.is_true(CONDITION_PODS_READY)
    assert deleted_names(decided) == {make_pod(0).name, succeeded(1).name}


def test_a_job_that_is_created_suspended_starts_nothing_and_keeps_its_first_attempt() -> None:
    decided = decide(make_view(suspend=True, nodes=2))

    assert decided.status.is_true(CONDITION_SUSPENDED)
    assert decided.status.attempt == 0
    assert (decided.create, decided.delete) == ((), ())


def test_a_job_that_stays_suspended_keeps_its_attempt() -> None:
    status = make_status(SUSPENDED, attempt=1, launched_attempt=0)

    decided = decide(make_view(status, suspend=True), deleting(make_pod(attempt=0)))

    assert decided.status.attempt == 1
    assert decided.delete == ()


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param({"pods": (make_pod(0, attempt=1),)}, id="a pod of it turns up"),
        pytest.param({"vanished": frozenset({0})}, id="a pod of it was seen to go"),
        pytest.param({"done": frozenset({0})}, id="a rank of it was seen to go completed"),
    ],
)
def test_the_attempt_is_incremented_again_if_one_of_its_pods_appears(
    seen: dict[str, object],
) -> None:
    """The operator died after it created a pod and before it wrote the status."""
    status = make_status(SUSPENDED, attempt=1, launched_attempt=0)
    pods = seen.pop("pods", ())

    decided = decide(make_view(status, suspend=True, nodes=2), *pods, **seen)  # type: ignore[misc, arg-type]

    assert decided.status.attempt == 2
    assert decided.status.completed_indexes == ""
    assert len(decided.delete) == len(pods)  # type: ignore[arg-type]


def test_a_resume_creates_all_ranks_of_the_new_attempt() -> None:
    status = make_status(SUSPENDED, attempt=1, launched_attempt=0)

    decided = decide(make_view(status, nodes=2))

    suspended = decided.status.condition(CONDITION_SUSPENDED)
    assert suspended is not None
    assert not suspended.status
    assert suspended.reason == REASON_RESUMED
    assert suspended.last_transition_time == NOW
    assert decided.create == (0, 1)
    assert decided.status.attempt == 1
    assert decided.requeue_at is None


def test_a_resume_waits_for_the_pods_of_the_last_attempt() -> None:
    status = make_status(SUSPENDED, attempt=1, launched_attempt=0)

    decided = decide(make_view(status, nodes=2), deleting(make_pod(0, attempt=0)))

    assert (decided.create, decided.delete) == ((), ())
    assert not decided.status.is_true(CONDITION_SUSPENDED)


def test_the_start_time_is_set_again_after_a_resume() -> None:
    status = make_status(SUSPENDED, attempt=1, launched_attempt=0)

    decided = decide(make_view(status), make_pod(attempt=1))

    assert decided.status.start_time == NOW
    assert decided.status.launched_attempt == 1


def test_a_job_that_never_was_suspended_has_no_such_condition() -> None:
    assert decide(make_view()).status.condition(CONDITION_SUSPENDED) is None


def test_a_suspension_ends_a_pending_restart() -> None:
    status = make_status(
        make_condition(CONDITION_RESTARTING), attempt=1, launched_attempt=0, restarts=1
    )

    decided = decide(make_view(status, suspend=True))

    assert decided.status.is_true(CONDITION_SUSPENDED)
    assert not decided.status.is_true(CONDITION_RESTARTING)
    assert (decided.status.attempt, decided.status.restarts) == (1, 1)


def test_a_failure_is_counted_before_a_suspension_deletes_the_pod() -> None:
    decided = decide(make_view(LAUNCHED, suspend=True), failed())

    assert (decided.status.attempt, decided.status.restarts) == (1, 1)


@pytest.mark.parametrize(
    "pods",
    [
        pytest.param([deleting(make_pod(0)), make_pod(1)], id="deleted"),
        pytest.param([disrupted(make_pod(0)), make_pod(1)], id="drained"),
        pytest.param([make_pod(1)], id="gone"),
        pytest.param([deleting(succeeded(0), since_s=-20), make_pod(1)], id="exited 0 when told"),
    ],
)
def test_a_pod_deleted_during_a_suspension_is_not_a_disruption(pods: list[object]) -> None:
    decided = decide(make_view(LAUNCHED, nodes=2, suspend=True), *pods)  # type: ignore[arg-type]

    assert decided.status.is_true(CONDITION_SUSPENDED)
    assert (decided.status.attempt, decided.status.disruptions) == (1, 0)
    assert not decided.needs_live_pods


def test_the_deadline_of_a_suspended_job_does_not_run() -> None:
    job = make_view(LAUNCHED, suspend=True, active_deadline_s=10, pre_running_deadline_s=10)

    decided = decide(job, make_pod())

    assert not decided.status.is_finished
    assert decided.requeue_at is None


# --- settled ----------------------------------------------------------------------------------

POLICY = DecisionSettings(recording=True)
SETTLED = make_view(
    make_status(SUSPENDED, attempt=1, launched_attempt=0, observed_generation=3),
    generation=3,
    finalizers=(FINALIZER_RECORD,),
    suspend=True,
)


def test_a_suspended_job_is_settled_when_its_status_is_up_to_date() -> None:
    assert is_settled(SETTLED, POLICY)
    assert suspended_at(SETTLED) == SUSPENDED.last_transition_time


@pytest.mark.parametrize("archiving", [False, True])
def test_a_settled_job_without_pods_needs_no_action(archiving: bool) -> None:
    policy = replace(POLICY, archiving=archiving)
    first = plan(Observation(job=SETTLED), policy, now=NOW)
    settled = replace(SETTLED, status=first.status)
    assert is_settled(settled, policy)
    again = plan(Observation(job=settled), policy, now=at(1_000_000))
    assert again == Plan(status=settled.status)


@pytest.mark.parametrize(
    "change",
    [
        {"spec": JobSpec()},
        {"spec": JobSpec(suspend=True, shutdown="Stop")},
        {"status": replace(SETTLED.status, shutdown=Shutdown(mode="Stop", requested_at=NOW))},
        {"status": replace(SETTLED.status, conditions=())},
        {"status": replace(SETTLED.status, active=1)},
        {"status": replace(SETTLED.status, terminating=1)},
        {"status": replace(SETTLED.status, unread_logs=(UnreadLogs(attempt=0, ranks="0"),))},
        {"status": replace(SETTLED.status, launched_attempt=1)},
        {"generation": 4},
        {"deleting": True},
        {"invalid": "spec: what is this"},
        {"finalizers": ()},
    ],
    ids=",".join,
)
def test_a_suspended_job_with_work_left_is_not_settled(
    change: dict[str, Any],
) -> None:
    assert not is_settled(replace(SETTLED, **change), POLICY)


def test_without_records_a_settled_job_needs_no_finalizer() -> None:
    assert is_settled(replace(SETTLED, finalizers=()), DecisionSettings())


@pytest.mark.parametrize(
    ("fields", "runs"),
    [
        ({}, True),
        ({"suspend": True}, False),
        ({"shutdown": "Terminate"}, False),
        ({"deleting": True}, False),
        ({"invalid": "spec: what is this"}, False),
        ({"status": make_status(make_condition(CONDITION_COMPLETE))}, False),
        ({"status": make_status(shutdown=Shutdown(mode="Stop", requested_at=NOW))}, False),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_a_job_is_to_run_unless_finished_suspended_or_ending(
    fields: dict[str, Any], runs: bool
) -> None:
    assert should_run(make_view(**fields)) is runs
