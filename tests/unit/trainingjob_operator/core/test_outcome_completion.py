"""Completion: every rank exited with 0 before it was asked to stop."""

import pytest

from tests.support.views import (
    decide,
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
    CONDITION_FAILED,
    CONDITION_FINISHED,
    CONDITION_RESTARTING,
    REASON_COMPLETIONS_REACHED,
)
from trainingjob_operator.core.pod import PodView

LAUNCHED = make_status(launched_attempt=0)


def test_a_job_whose_ranks_all_completed_is_complete_and_finished_for_the_same_reason() -> None:
    decided = decide(make_view(LAUNCHED, nodes=2), succeeded(0), succeeded(1))

    complete, finished = (
        decided.status.condition(kind) for kind in (CONDITION_COMPLETE, CONDITION_FINISHED)
    )
    assert complete is not None
    assert complete.status
    assert complete.reason == REASON_COMPLETIONS_REACHED
    assert decided.status.outcome == finished
    assert finished is not None
    assert finished.reason == complete.reason
    assert decided.status.phase == "Succeeded"
    assert decided.status.exit_code == 0
    assert decided.status.completion_time is not None
    assert decided.status.completed_indexes == "0-1"
    assert decided.status.succeeded == 2
    assert decided.status.record_state == "NotRequired"
    assert decided.requeue_at is None


def test_a_rank_that_completed_while_another_runs_is_remembered_in_status() -> None:
    decided = decide(make_view(LAUNCHED, nodes=3), make_pod(0), succeeded(1), make_pod(2))

    assert decided.status.completed_indexes == "1"
    assert decided.status.succeeded == 1
    assert not decided.status.is_finished
    assert (decided.create, decided.delete) == ((), ())


@pytest.mark.parametrize(
    "done",
    [
        pytest.param({"status": "0"}, id="status says so"),
        pytest.param({"index": frozenset({0})}, id="the index saw it go completed"),
    ],
)
def test_a_completed_rank_whose_pod_is_gone_is_neither_lost_nor_created_again(
    done: dict[str, frozenset[int] | str],
) -> None:
    status = make_status(launched_attempt=0, completed_indexes=done.get("status", ""))
    job = make_view(status, nodes=2)

    decided = decide(job, make_pod(1), done=done.get("index", frozenset()), pods_are_live=True)

    assert decided.create == ()
    assert decided.status.attempt == 0
    assert decided.status.completed_indexes == "0"


def test_the_last_completion_ends_a_job_whose_other_pods_are_gone() -> None:
    status = make_status(launched_attempt=0, completed_indexes="0-1")

    assert decide(make_view(status, nodes=3), succeeded(2)).status.is_true(CONDITION_COMPLETE)


@pytest.mark.parametrize(
    ("pod", "counts"),
    [
        pytest.param(succeeded(), True, id="nobody asked it to stop"),
        pytest.param(deleting(succeeded(), since_s=-5), True, id="it ended before its deletion"),
        pytest.param(
            disrupted(succeeded(), since_s=-5), True, id="it ended before its disruption"
        ),
        pytest.param(
            deleting(succeeded(), since_s=-10), False, id="it ended in the second of its deletion"
        ),
        pytest.param(
            deleting(succeeded(), since_s=-15), False, id="it ended after it was told to"
        ),
        pytest.param(
            disrupted(succeeded(), since_s=-15), False, id="it ended after its node was drained"
        ),
        pytest.param(
            deleting(succeeded(finished_at=None)), False, id="nobody knows when it ended"
        ),
        pytest.param(failed(), False, id="it failed"),
    ],
)
def test_a_rank_completes_only_if_it_exited_before_it_was_asked_to_stop(
    pod: PodView, *, counts: bool
) -> None:
    decided = decide(make_view(LAUNCHED), pod)

    assert pod.has_completed is counts
    assert decided.status.is_true(CONDITION_COMPLETE) is counts
    assert decided.status.attempt == (0 if counts else 1)


def test_a_success_comes_before_a_suspension_a_shutdown_and_a_deletion() -> None:
    job = make_view(LAUNCHED, suspend=True, shutdown="Terminate", deleting=True)

    decided = decide(job, succeeded())

    assert decided.status.is_true(CONDITION_COMPLETE)
    assert decided.status.shutdown is None


def test_a_pending_restart_is_over_when_the_job_is_finished() -> None:
    status = make_status(make_condition(CONDITION_RESTARTING), attempt=1, restarts=1)

    decided = decide(make_view(status), succeeded(attempt=1))

    assert decided.status.is_true(CONDITION_COMPLETE)
    assert not decided.status.is_true(CONDITION_RESTARTING)


def test_a_finished_job_stays_finished_whatever_happens_to_its_pods() -> None:
    finished = decide(make_view(LAUNCHED, nodes=2), succeeded(0), succeeded(1)).status
    job = make_view(
        finished, nodes=2, suspend=True, shutdown="Stop", deleting=True, active_deadline_s=1
    )

    for pods in ([], [failed(0), failed(1)], [deleting(make_pod(0))]):
        decided = decide(job, *pods, pods_are_live=True)

        assert decided.status.conditions == finished.conditions
        assert decided.status.completed_indexes == "0-1"
        assert decided.status.succeeded == 2
        assert decided.status.failed == 0
        assert decided.status.phase == "Succeeded"
        assert decided.create == ()
        assert decided.requeue_at is None


def test_a_job_of_another_controller_is_ignored() -> None:
    job = make_view(managed_by="kueue.x-k8s.io/multikueue", shutdown="Stop")

    decided = decide(job, failed())

    assert decided.status == job.status
    assert (decided.create, decided.delete, decided.events) == ((), (), ())


@pytest.mark.parametrize(
    "owner", [pytest.param("another-uid", id="namesake"), pytest.param("", id="nobody")]
)
def test_a_pod_with_another_controller_does_not_belong_to_the_job(owner: str) -> None:
    decided = decide(make_view(), succeeded(owner_uid=owner))

    assert decided.create == (0,)
    assert decided.delete == ()
    assert decided.status.succeeded == 0


def test_an_invalid_spec_fails_its_job_with_the_reason() -> None:
    decided = decide(make_view(invalid="spec.numNodes: must be a whole number"), make_pod())

    outcome = decided.status.condition(CONDITION_FAILED)
    assert outcome is not None
    assert outcome.reason == "InvalidSpec"
    assert outcome.message == "spec.numNodes: must be a whole number"
    assert len(decided.delete) == 1
