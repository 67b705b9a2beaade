"""`disruptionLimit`: the number of disruptions in a row without progress is limited."""

from dataclasses import replace

import pytest

from tests.support.views import (
    at,
    decide,
    deleting,
    disrupted,
    failed,
    make_condition,
    make_pod,
    make_status,
    make_view,
)
from trainingjob_api.constants import CONDITION_FAILED, CONDITION_PODS_READY
from trainingjob_operator.core.job import Condition, FailurePolicyRule, JobStatus
from trainingjob_operator.core.pod import PodView
from trainingjob_operator.core.status_wire import status_document, status_patch, status_view


def ready(for_s: float, *, status: bool = True) -> Condition:
    return make_condition(CONDITION_PODS_READY, status=status, since_s=-for_s)


def after(disruptions: int, *conditions: Condition) -> JobStatus:
    return make_status(
        *conditions,
        launched_attempt=0,
        disruptions=disruptions + 5,
        disruptions_since_progress=disruptions,
    )


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(disrupted(make_pod()), id="drained"),
        pytest.param(deleting(make_pod()), id="deleted"),
        pytest.param(None, id="lost"),
        pytest.param(
            failed(exit_code=None, rejected=True, reason="UnexpectedAdmissionError"), id="rejected"
        ),
    ],
)
def test_exceeding_the_disruption_limit_fails_the_job(pod: PodView | None) -> None:
    pods = (pod,) if pod is not None else ()

    borne = decide(make_view(after(2), disruption_limit=3), *pods, pods_are_live=True).status
    assert not borne.is_finished
    assert (borne.disruptions, borne.disruptions_since_progress) == (8, 3)

    ended = decide(make_view(after(3), disruption_limit=3), *pods, pods_are_live=True).status
    outcome = ended.condition(CONDITION_FAILED)
    assert outcome is not None
    assert outcome.reason == "DisruptionLimitExceeded"
    assert "more than 3 disruptions in a row (spec.disruptionLimit)" in outcome.message
    assert ended.restarts == 0


def test_with_a_limit_of_zero_the_first_disruption_fails_the_job() -> None:
    job = make_view(make_status(launched_attempt=0), disruption_limit=0)

    assert decide(job, disrupted(make_pod())).status.is_true(CONDITION_FAILED)


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        pytest.param(ready(600), 1, id="for ten minutes"),
        pytest.param(ready(599), 4, id="for less"),
        pytest.param(ready(9999, status=False), 4, id="not at all"),
    ],
)
def test_an_attempt_that_ran_for_a_while_is_progress(condition: Condition, count: int) -> None:
    job = make_view(after(3, condition), disruption_limit=50)

    assert decide(job, disrupted(make_pod())).status.disruptions_since_progress == count


def test_the_write_that_ends_readiness_also_resets_the_count() -> None:
    job = make_view(after(3, ready(600)))

    # The pod's readiness goes before its disruption is known.
    broken = decide(job, make_pod(ready=False)).status
    assert not broken.is_true(CONDITION_PODS_READY)
    assert broken.disruptions_since_progress == 0


def test_a_failure_that_a_rule_ignores_counts_as_well() -> None:
    rules = (FailurePolicyRule(action="Ignore", operator="In", values=frozenset({42})),)
    job = make_view(after(3), disruption_limit=3, failure_rules=rules)

    ended = decide(job, failed(code=42)).status

    outcome = ended.condition(CONDITION_FAILED)
    assert outcome is not None
    assert outcome.reason == "DisruptionLimitExceeded"
    assert ended.exit_code == 42


def test_a_failure_neither_resets_nor_increments_the_count() -> None:
    assert decide(make_view(after(3)), failed()).status.disruptions_since_progress == 3


def test_a_suspension_resets_the_count() -> None:
    held = decide(make_view(after(3), suspend=True), make_pod()).status

    assert (held.disruptions, held.disruptions_since_progress) == (8, 0)


def test_the_count_survives_a_restart_of_the_operator() -> None:
    status = replace(after(3), phase="Running", start_time=at(-100))

    assert status_view(status_document(status)).disruptions_since_progress == 3
    forgiven = replace(status, disruptions_since_progress=0)
    assert status_patch(status, forgiven) == {"disruptionsSinceProgress": 0}
