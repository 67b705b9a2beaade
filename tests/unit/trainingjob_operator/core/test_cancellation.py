"""Cancelling a job: `spec.shutdown`, which is latched, and the deletion of a running job."""

from dataclasses import replace

import pytest

from tests.support.views import (
    NOW,
    decide,
    deleted_names,
    deleting,
    failed,
    make_condition,
    make_pod,
    make_shutdown,
    make_status,
    make_view,
    succeeded,
)
from trainingjob_api.constants import (
    CONDITION_CANCELLED,
    CONDITION_FINISHED,
    CONDITION_RESTARTING,
    REASON_DELETED,
    REASON_STOPPED,
    REASON_TERMINATED,
)
from trainingjob_operator.core.job import Shutdown

LAUNCHED = make_status(launched_attempt=0)


def test_a_shutdown_is_latched_with_its_field_manager_and_time() -> None:
    job = make_view(LAUNCHED, nodes=2, shutdown="Stop", shutdown_by="kubectl-edit")

    decided = decide(job, make_pod(0), succeeded(1))

    assert decided.status.shutdown == Shutdown(
        mode="Stop", requested_at=NOW, requested_by="kubectl-edit"
    )
    assert decided.status.phase == "Stopping"
    assert not decided.status.is_finished
    assert [(d.name, d.grace_s) for d in decided.delete] == [(make_pod(0).name, None)]
    assert decided.status.attempt == 0


@pytest.mark.parametrize(
    ("latched", "asked", "mode"),
    [
        pytest.param("Stop", "Stop", "Stop", id="unchanged"),
        pytest.param("Stop", None, "Stop", id="removed after Stop"),
        pytest.param("Terminate", None, "Terminate", id="removed after Terminate"),
        pytest.param("Stop", "Terminate", "Terminate", id="strengthened"),
        pytest.param("Terminate", "Stop", "Terminate", id="weakened past the schema"),
    ],
)
def test_a_latched_shutdown_can_only_grow_stronger(
    latched: str, asked: str | None, mode: str
) -> None:
    shutdown = make_shutdown(latched, by="somebody")
    job = make_view(replace(LAUNCHED, shutdown=shutdown), shutdown=asked, shutdown_by="another")

    decided = decide(job, make_pod())

    assert decided.status.shutdown == replace(shutdown, mode=mode)
    assert decided.create == ()


@pytest.mark.parametrize(
    ("mode", "reason"), [("Stop", REASON_STOPPED), ("Terminate", REASON_TERMINATED)]
)
def test_the_job_is_cancelled_when_no_pod_runs_any_more(mode: str, reason: str) -> None:
    status = replace(LAUNCHED, shutdown=make_shutdown(mode))

    decided = decide(make_view(status, nodes=2), failed(0, code=143))

    for kind in (CONDITION_CANCELLED, CONDITION_FINISHED):
        condition = decided.status.condition(kind)
        assert condition is not None
        assert condition.status
        assert condition.reason == reason
    assert decided.status.phase == "Cancelled"
    assert decided.status.exit_code == 143
    assert decided.create == ()


def test_a_job_that_is_stopped_before_it_started_is_cancelled_without_an_exit_code() -> None:
    decided = decide(make_view(nodes=2, shutdown="Stop"))

    assert decided.status.is_true(CONDITION_CANCELLED)
    assert decided.status.exit_code is None
    assert decided.create == ()


def test_a_trainer_that_traps_sigterm_and_exits_0_was_cancelled_and_did_not_complete() -> None:
    status = replace(LAUNCHED, shutdown=make_shutdown())

    decided = decide(make_view(status), deleting(succeeded(), since_s=-20))

    assert decided.status.is_true(CONDITION_CANCELLED)
    assert decided.status.phase == "Cancelled"
    assert decided.status.succeeded == 0


def test_terminate_deletes_at_once_but_never_by_force() -> None:
    decided = decide(make_view(LAUNCHED, shutdown="Terminate"), make_pod())

    assert [victim.grace_s for victim in decided.delete] == [1]


@pytest.mark.parametrize(
    ("grace_s", "again"),
    [
        pytest.param(30, True, id="a long grace period is cut short"),
        pytest.param(2, True, id="so is one of two seconds"),
        pytest.param(1, False, id="what goes at once is left to go"),
        pytest.param(0, False, id="what was forced is left to go"),
    ],
)
def test_terminate_cuts_short_a_deletion_that_is_under_way(grace_s: int, *, again: bool) -> None:
    status = replace(LAUNCHED, shutdown=make_shutdown("Stop"))
    pod = deleting(make_pod(), grace_s=grace_s)

    decided = decide(make_view(status, shutdown="Terminate"), pod)

    assert [victim.grace_s for victim in decided.delete] == ([1] if again else [])


def test_stop_waits_for_pods_that_are_already_terminating() -> None:
    status = replace(LAUNCHED, shutdown=make_shutdown("Stop"))

    decided = decide(make_view(status), deleting(make_pod()))

    assert decided.delete == ()
    assert not decided.status.is_finished
    assert decided.status.terminating == 1


def test_a_shutdown_waits_for_pods_of_earlier_attempts_too_and_ends_a_pending_restart() -> None:
    status = make_status(
        make_condition(CONDITION_RESTARTING), attempt=1, launched_attempt=0, restarts=1
    )

    decided = decide(make_view(status, shutdown="Stop"), deleting(make_pod(attempt=0)))

    assert not decided.status.is_finished
    assert not decided.status.is_true(CONDITION_RESTARTING)


def test_a_shutdown_comes_before_failures_and_suspension() -> None:
    job = make_view(LAUNCHED, nodes=2, shutdown="Stop", suspend=True, backoff_limit=0)

    decided = decide(job, failed(0), make_pod(1))

    assert decided.status.phase == "Stopping"
    assert (decided.status.attempt, decided.status.restarts) == (0, 0)


def test_a_shutdown_of_a_finished_job_is_not_latched() -> None:
    finished = decide(make_view(LAUNCHED), succeeded()).status

    assert decide(make_view(finished, shutdown="Stop")).status.shutdown is None


# --- deletion --------------------------------------------------------------------------------


def test_a_job_that_is_deleted_while_it_runs_takes_its_pods_down_gracefully() -> None:
    decided = decide(make_view(LAUNCHED, nodes=2, deleting=True), make_pod(0), make_pod(1))

    assert deleted_names(decided) == {make_pod(0).name, make_pod(1).name}
    assert {victim.grace_s for victim in decided.delete} == {None}
    assert decided.status.phase == "Stopping"
    assert not decided.status.is_finished


@pytest.mark.parametrize(
    "pods",
    [
        pytest.param([], id="no pod was ever created"),
        pytest.param([failed(0)], id="its pods ended"),
    ],
)
def test_a_deleted_job_without_running_pods_is_cancelled_and_starts_nothing(
    pods: list[object],
) -> None:
    decided = decide(make_view(nodes=2, deleting=True), *pods)  # type: ignore[arg-type]

    outcome = decided.status.condition(CONDITION_CANCELLED)
    assert outcome is not None
    assert outcome.reason == REASON_DELETED
    assert decided.create == ()


def test_the_pods_of_a_job_deleted_with_cascade_orphan_are_left_alone() -> None:
    job = make_view(LAUNCHED, nodes=2, deleting=True, finalizers=("orphan",))

    decided = decide(job, make_pod(0), failed(1))

    assert (decided.create, decided.delete) == ((), ())
    assert not decided.status.is_finished
    assert decided.status.phase == "Stopping"


def test_a_deletion_comes_before_a_shutdown() -> None:
    decided = decide(make_view(LAUNCHED, deleting=True, shutdown="Stop"))

    outcome = decided.status.outcome
    assert outcome is not None
    assert outcome.reason == REASON_DELETED
