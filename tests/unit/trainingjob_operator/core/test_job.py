"""`JobStatus.is_finished`, also for a manually edited status."""

from datetime import UTC, datetime

import pytest

from trainingjob_operator.core.job import Condition, JobStatus


def condition(kind: str, *, to: bool) -> Condition:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Condition(type=kind, status=to, reason="R", message="", last_transition_time=at)


@pytest.mark.parametrize("kind", ["Complete", "Failed", "Cancelled"])
def test_a_job_is_finished_when_a_terminal_condition_is_true(kind: str) -> None:
    others = (condition("PodsReady", to=True), condition("Finished", to=True))
    assert JobStatus(conditions=(*others, condition(kind, to=True))).is_finished
    assert not JobStatus(conditions=(*others, condition(kind, to=False))).is_finished
    assert not JobStatus(conditions=others).is_finished


def test_of_two_conditions_of_a_type_the_first_one_counts() -> None:
    twice = (condition("Failed", to=False), condition("Failed", to=True))
    assert JobStatus(conditions=twice).condition("Failed") is twice[0]
    assert not JobStatus(conditions=twice).is_true("Failed")
    assert not JobStatus(conditions=twice).is_finished
    assert JobStatus(conditions=(*twice, condition("Complete", to=True))).is_finished
