"""Writes of mere progress can be delayed; writes that decisions depend on cannot."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.views import make_pod
from trainingjob_operator.core.job import Condition, JobStatus, Shutdown
from trainingjob_operator.core.pod import PodPhase, PodView
from trainingjob_operator.core.progress import Progress, progress_between

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def condition(kind: str, *, status: bool, reason: str = "R") -> Condition:
    return Condition(type=kind, status=status, reason=reason, message="", last_transition_time=NOW)


WAITING = JobStatus(phase="Pending", conditions=(condition("PodsReady", status=False),))
READY = (condition("PodsReady", status=True),)


@pytest.mark.parametrize(
    "changes",
    [
        {"ready": 3},
        {"active": 1, "failed": 2, "succeeded": 3, "terminating": 4},
        {"phase": "Running"},
        {"phase": "Running", "conditions": READY, "ready": 1},
    ],
)
def test_pod_counts_and_readiness_are_mere_progress(changes: dict[str, Any]) -> None:
    assert progress_between(WAITING, replace(WAITING, **changes)) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"conditions": (condition("PodsReady", status=False, reason="Unschedulable"),)},
        {"conditions": (*READY, condition("Complete", status=True))},
        {"conditions": (*READY, condition("Restarting", status=False))},
        {"phase": "Succeeded"},
        {"phase": "Stopping"},
        {"attempt": 1},
        {"launched_attempt": 0},
        {"completed_indexes": "0"},
        {"restarts": 1},
        {"disruptions": 1},
        {"start_time": NOW},
        {"observed_generation": 2},
        {"shutdown": Shutdown(mode="Stop", requested_at=NOW)},
        {"exit_code": 1},
        {"record_state": "Pending"},
    ],
)
def test_fields_that_decisions_depend_on_are_not_mere_progress(changes: dict[str, Any]) -> None:
    assert progress_between(WAITING, replace(WAITING, ready=1, **changes)) is None


def test_another_first_unready_rank_is_mere_progress() -> None:
    old, new = (
        replace(condition("PodsReady", status=False, reason="PodsNotReady"), message=message)
        for message in ("rank 1", "rank 2")
    )
    waiting = replace(WAITING, conditions=(old,))

    new_status = replace(waiting, ready=2, conditions=(new,))
    assert progress_between(waiting, new_status) is Progress.SOME_STARTED


def test_losing_readiness_is_not_mere_progress() -> None:
    running = replace(WAITING, phase="Running", conditions=READY, ready=1)
    assert (
        progress_between(running, replace(running, ready=0, conditions=WAITING.conditions)) is None
    )


@pytest.mark.parametrize(
    "changes",
    [{"phase": "Running"}, {"conditions": READY}, {"phase": "Running", "conditions": READY}],
)
def test_all_ranks_running_is_more_important_than_a_count(changes: dict[str, Any]) -> None:
    assert progress_between(WAITING, replace(WAITING, ready=2, **changes)) is Progress.ALL_RUN


def test_counts_are_progress_of_a_start_until_all_ranks_run() -> None:
    running = replace(WAITING, phase="Running", conditions=READY, active=2)
    assert progress_between(WAITING, replace(WAITING, ready=1)) is Progress.SOME_STARTED
    assert progress_between(running, replace(running, active=1)) is Progress.COUNTS


DONE = make_pod(0, PodPhase.SUCCEEDED)


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        pytest.param((DONE,), Progress.DONE, id="pod is there"),
        pytest.param((), None, id="pod is gone"),
        pytest.param((replace(DONE, deleting=True),), None, id="pod is being deleted"),
        pytest.param((replace(DONE, attempt=1),), None, id="pod of another attempt"),
        pytest.param((replace(DONE, index=1),), None, id="pod of another rank"),
    ],
)
def test_a_completed_rank_is_mere_progress_while_its_pod_shows_it(
    pods: tuple[PodView, ...], expected: Progress | None
) -> None:
    running = replace(WAITING, phase="Running", conditions=READY, active=2)
    done = replace(running, succeeded=1, active=1, completed_indexes="0")
    assert progress_between(running, done, pods) is expected


@pytest.mark.parametrize("more", [{}, {"phase": "Running"}, {"log_bytes": 10}])
def test_a_completed_rank_stays_the_kind_of_progress_if_others_start(more: dict[str, Any]) -> None:
    done = replace(WAITING, succeeded=1, completed_indexes="0", **more)
    assert progress_between(WAITING, done, (DONE,)) is Progress.DONE


def test_a_revoked_completion_is_not_mere_progress() -> None:
    running = replace(WAITING, phase="Running", conditions=READY, completed_indexes="0-1")
    assert progress_between(running, replace(running, completed_indexes="0"), (DONE,)) is None


def test_the_removal_of_a_suspended_jobs_last_pod_is_not_mere_progress() -> None:
    suspended = replace(
        WAITING, phase="Suspended", conditions=(condition("Suspended", status=True),), active=2
    )
    stopping = replace(suspended, active=1, terminating=1)
    assert progress_between(suspended, stopping) is Progress.COUNTS
    assert progress_between(stopping, replace(stopping, active=0, terminating=0)) is None
