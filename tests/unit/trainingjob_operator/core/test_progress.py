"""Mere progress can wait to be written; everything that a decision rests on cannot."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from trainingjob_operator.core.job import Condition, JobStatus, Shutdown
from trainingjob_operator.core.progress import is_mere_progress

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
def test_how_far_the_pods_have_come_can_wait(changes: dict[str, Any]) -> None:
    assert is_mere_progress(WAITING, replace(WAITING, **changes))


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
def test_what_a_decision_rests_on_cannot_wait(changes: dict[str, Any]) -> None:
    assert not is_mere_progress(WAITING, replace(WAITING, ready=1, **changes))


def test_which_rank_is_the_first_that_is_not_ready_can_wait() -> None:
    old, new = (
        replace(condition("PodsReady", status=False, reason="PodsNotReady"), message=message)
        for message in ("rank 1", "rank 2")
    )
    waiting = replace(WAITING, conditions=(old,))

    assert is_mere_progress(waiting, replace(waiting, ready=2, conditions=(new,)))


def test_a_rank_that_is_no_longer_ready_cannot_wait() -> None:
    running = replace(WAITING, phase="Running", conditions=READY, ready=1)
    assert not is_mere_progress(running, replace(running, ready=0, conditions=WAITING.conditions))
