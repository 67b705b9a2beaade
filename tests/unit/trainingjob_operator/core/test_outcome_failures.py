"""Failures: when ranks restart, what counts towards `backoffLimit`, and when the job fails."""

import pytest

from tests.support.views import (
    at,
    decide,
    deleted_names,
    deleting,
    disrupted,
    failed,
    make_pod,
    make_status,
    make_view,
    succeeded,
)
from trainingjob_api.constants import (
    CONDITION_FAILED,
    CONDITION_RESTARTING,
    REASON_BACKOFF_LIMIT_EXCEEDED,
    REASON_POD_FAILED,
    REASON_POD_FAILURE_POLICY,
    REASON_POD_LOST,
)
from trainingjob_operator.core.failure_policy import Verdict, judge
from trainingjob_operator.core.job import FailurePolicyRule
from trainingjob_operator.core.pod import ContainerExit, PodView

LAUNCHED = make_status(launched_attempt=0)


def test_a_failed_rank_restarts_all_ranks_and_counts_towards_backoff_limit() -> None:
    pods = (failed(0, code=7), make_pod(1), succeeded(2))

    decided = decide(make_view(LAUNCHED, nodes=3), *pods)

    restarting = decided.status.condition(CONDITION_RESTARTING)
    assert restarting is not None
    assert restarting.status
    assert restarting.reason == REASON_POD_FAILED
    assert "rank 0" in restarting.message
    assert "exited with code 7" in restarting.message
    assert (decided.status.attempt, decided.status.restarts, decided.status.disruptions) == (
        1,
        1,
        0,
    )
    assert decided.status.launched_attempt == 0
    assert decided.status.completed_indexes == ""
    assert decided.status.phase == "Restarting"
    assert decided.create == ()
    assert deleted_names(decided) == {pod.name for pod in pods}


@pytest.mark.parametrize(
    ("limit", "spent", "restarts"),
    [
        pytest.param(3, 0, True, id="the first failure restarts"),
        pytest.param(3, 2, True, id="the last try is used"),
        pytest.param(3, 3, False, id="no try is left"),
        pytest.param(0, 0, False, id="a limit of 0 allows no restart"),
        pytest.param(1, 5, False, id="a limit lowered below what is spent fails"),
    ],
)
def test_failures_restart_until_the_backoff_limit_is_exhausted(
    limit: int, spent: int, *, restarts: bool
) -> None:
    status = make_status(launched_attempt=4, attempt=4, restarts=spent, disruptions=9)

    decided = decide(make_view(status, backoff_limit=limit), failed(attempt=4, code=9))

    assert decided.status.is_true(CONDITION_RESTARTING) is restarts
    assert decided.status.is_finished is not restarts
    if not restarts:
        outcome = decided.status.condition(CONDITION_FAILED)
        assert outcome is not None
        assert outcome.reason == REASON_BACKOFF_LIMIT_EXCEEDED
        assert f"backoffLimit {limit}" in outcome.message
        assert decided.status.exit_code == 9
        assert decided.status.attempt == 4
        assert decided.status.failed == 1


def test_the_rank_that_failed_first_is_named_and_gives_the_exit_code() -> None:
    job = make_view(LAUNCHED, nodes=3, backoff_limit=0)
    pods = (
        failed(0, code=1, finished_at=at(-3)),
        failed(1, code=2, finished_at=at(-9)),
        failed(2, code=3, finished_at=None),
    )

    decided = decide(job, *pods)

    outcome = decided.status.condition(CONDITION_FAILED)
    assert outcome is not None
    assert "rank 1" in outcome.message
    assert decided.status.exit_code == 2


def test_the_message_contains_the_pods_own_reason_and_message() -> None:
    pod = failed(exit_code=None, reason="Evicted", message="disk full")

    outcome = decide(make_view(LAUNCHED, backoff_limit=0), pod).status.outcome

    assert outcome is not None
    assert "failed (Evicted: disk full)" in outcome.message


def test_a_failure_before_every_pod_is_created_counts_too() -> None:
    decided = decide(make_view(nodes=3), failed(0))

    assert decided.status.restarts == 1
    assert decided.create == ()


def test_a_failed_pod_of_an_earlier_attempt_is_deleted_and_not_counted() -> None:
    status = make_status(attempt=1, launched_attempt=0, restarts=1)

    decided = decide(make_view(status), failed(attempt=0))

    assert decided.status.restarts == 1
    assert len(decided.delete) == 1
    assert decided.create == ()


@pytest.mark.parametrize(
    "taken",
    [
        pytest.param((deleting(make_pod(0)), failed(1)), id="the other rank is being deleted"),
        pytest.param((disrupted(make_pod(0)), failed(1)), id="the other rank's node is drained"),
        pytest.param((failed(1),), id="the other rank's pod is gone already"),
    ],
)
def test_a_failure_beside_a_disruption_does_not_count_towards_backoff_limit(
    taken: tuple[PodView, ...],
) -> None:
    decided = decide(make_view(LAUNCHED, nodes=2), *taken, pods_are_live=True)

    restarting = decided.status.condition(CONDITION_RESTARTING)
    assert restarting is not None
    assert "rank 0" in restarting.message
    assert restarting.reason != REASON_POD_FAILED
    assert (decided.status.restarts, decided.status.disruptions) == (0, 1)


def test_a_missing_peer_of_a_failed_rank_needs_a_live_read() -> None:
    job = make_view(LAUNCHED, nodes=2)

    assert decide(job, failed(1)).needs_live_pods
    # The fresh look finds the peer after all: the failure counts.
    assert decide(job, make_pod(0), failed(1), pods_are_live=True).status.restarts == 1
    # And if it is gone, that is the reason.
    lost = decide(job, failed(1), pods_are_live=True).status.condition(CONDITION_RESTARTING)
    assert lost is not None
    assert lost.reason == REASON_POD_LOST


# --- podFailurePolicy ------------------------------------------------------------------------


def on_codes(
    action: str, *values: int, operator: str = "In", container: str | None = None
) -> FailurePolicyRule:
    return FailurePolicyRule(
        action=action, operator=operator, values=frozenset(values), container=container
    )


def on_condition(action: str, kind: str, status: str = "True") -> FailurePolicyRule:
    return FailurePolicyRule(action=action, conditions=((kind, status),))


def failed_with(*exits: tuple[str, int]) -> PodView:
    return failed(exits=tuple(ContainerExit(container=c, exit_code=code) for c, code in exits))


@pytest.mark.parametrize(
    ("rules", "pod", "verdict", "number"),
    [
        pytest.param([], failed(), Verdict.COUNT, None, id="no rule counts"),
        pytest.param([], disrupted(failed()), Verdict.IGNORE, None, id="no rule, disrupted"),
        pytest.param(
            [on_codes("FailJob", 42)], failed(code=42), Verdict.FAIL_JOB, 0, id="In matches"
        ),
        pytest.param(
            [on_codes("FailJob", 42)], failed(code=1), Verdict.COUNT, None, id="In does not match"
        ),
        pytest.param(
            [on_codes("Ignore", 1, 2, operator="NotIn")],
            failed(code=3),
            Verdict.IGNORE,
            0,
            id="NotIn matches another code",
        ),
        pytest.param(
            [on_codes("Ignore", 1, 2, operator="NotIn")],
            failed(code=2),
            Verdict.COUNT,
            None,
            id="NotIn does not match its own codes",
        ),
        pytest.param(
            [on_codes("FailJob", 1, operator="NotIn")],
            failed_with(("trainer", 1), ("sidecar", 0)),
            Verdict.COUNT,
            None,
            id="NotIn never matches 0",
        ),
        pytest.param(
            [on_codes("FailJob", 3)],
            failed_with(("trainer", 1), ("sidecar", 3)),
            Verdict.FAIL_JOB,
            0,
            id="without a container any container's code matches",
        ),
        pytest.param(
            [on_codes("FailJob", 3, container="trainer")],
            failed_with(("trainer", 1), ("sidecar", 3)),
            Verdict.COUNT,
            None,
            id="with a container only its code matches",
        ),
        pytest.param(
            [on_codes("Ignore", 42), on_codes("FailJob", 42)],
            failed(code=42),
            Verdict.IGNORE,
            0,
            id="the first rule that matches decides",
        ),
        pytest.param(
            [on_codes("Ignore", 1), on_codes("FailJob", 42)],
            failed(code=42),
            Verdict.FAIL_JOB,
            1,
            id="a rule that does not match is passed over",
        ),
        pytest.param(
            [on_condition("Count", "DisruptionTarget")],
            disrupted(failed()),
            Verdict.COUNT,
            0,
            id="a rule can count disruptions",
        ),
        pytest.param(
            [on_condition("FailJob", "ConfigIssue")],
            failed(conditions=(("ConfigIssue", "True"),)),
            Verdict.FAIL_JOB,
            0,
            id="a condition matches by type and status",
        ),
        pytest.param(
            [on_condition("FailJob", "ConfigIssue")],
            failed(conditions=(("ConfigIssue", "False"),)),
            Verdict.COUNT,
            None,
            id="a condition of another status does not match",
        ),
        pytest.param(
            [on_codes("FailJob", 42)],
            failed(exits=(), exit_code=None),
            Verdict.COUNT,
            None,
            id="a pod without an exit code matches no code",
        ),
        pytest.param(
            [on_condition("FailJob", "DisruptionTarget")],
            disrupted(make_pod()),
            Verdict.IGNORE,
            None,
            id="a pod that has not failed yet is not judged by rules",
        ),
    ],
)
def test_the_first_matching_rule_gives_the_verdict(
    rules: list[FailurePolicyRule], pod: PodView, verdict: Verdict, number: int | None
) -> None:
    assert judge(pod, rules) == (verdict, number)


def test_a_fail_job_rule_fails_the_job_with_restarts_left_and_is_named() -> None:
    rules = (on_codes("Ignore", 1), on_codes("FailJob", 42))
    job = make_view(LAUNCHED, nodes=2, failure_rules=rules)

    decided = decide(job, make_pod(0), failed(1, code=42))

    outcome = decided.status.condition(CONDITION_FAILED)
    assert outcome is not None
    assert outcome.reason == REASON_POD_FAILURE_POLICY
    assert "rule 1 of podFailurePolicy" in outcome.message
    assert decided.status.exit_code == 42
    assert decided.status.restarts == 0
    assert deleted_names(decided) == {make_pod(0).name}


def test_a_fail_job_rule_takes_precedence_over_a_disruption() -> None:
    job = make_view(LAUNCHED, nodes=2, failure_rules=(on_codes("FailJob", 42),))

    decided = decide(job, deleting(make_pod(0)), failed(1, code=42))

    assert decided.status.is_true(CONDITION_FAILED)


def test_an_ignored_failure_restarts_without_being_counted_even_if_no_restart_is_left() -> None:
    job = make_view(LAUNCHED, backoff_limit=0, failure_rules=(on_codes("Ignore", 42),))

    decided = decide(job, failed(code=42))

    restarting = decided.status.condition(CONDITION_RESTARTING)
    assert restarting is not None
    assert restarting.reason == REASON_POD_FAILED
    assert (decided.status.attempt, decided.status.restarts, decided.status.disruptions) == (
        1,
        0,
        1,
    )


def test_a_disruption_with_a_count_rule_counts_towards_backoff_limit() -> None:
    rules = (on_condition("Count", "DisruptionTarget"),)

    decided = decide(make_view(LAUNCHED, failure_rules=rules), disrupted(failed()))

    assert (decided.status.restarts, decided.status.disruptions) == (1, 0)
