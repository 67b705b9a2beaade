"""With podFailurePolicy rules, a disrupted pod is judged by how it ended."""

from dataclasses import replace
from typing import Any

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
from trainingjob_api.constants import CONDITION_FAILED, CONDITION_RESTARTING
from trainingjob_operator.core.job import FailurePolicyRule
from trainingjob_operator.core.pod import ContainerExit, PodPhase, PodView

LAUNCHED = make_status(launched_attempt=0)
FAIL = (FailurePolicyRule(action="FailJob", conditions=(("DisruptionTarget", "True"),)),)
COUNT = (FailurePolicyRule(action="Count", conditions=(("DisruptionTarget", "True"),)),)
OTHER = (FailurePolicyRule(action="FailJob", operator="In", values=frozenset({42})),)
ANNOUNCED = (
    pytest.param(disrupted(make_pod(0)), id="the disruption is announced"),
    pytest.param(deleting(disrupted(make_pod(0))), id="it is being drained"),
    pytest.param(deleting(make_pod(0)), id="it is being deleted"),
)


@pytest.mark.parametrize("pod", ANNOUNCED)
def test_an_announced_disruption_alone_decides_nothing(pod: PodView) -> None:
    decided = decide(make_view(LAUNCHED, nodes=2, failure_rules=FAIL), pod, make_pod(1))

    assert (decided.status.attempt, decided.status.is_finished) == (0, False)
    assert (decided.create, decided.delete) == ((), ())
    ready = decided.status.condition("PodsReady")
    assert ready is not None
    assert not ready.status
    assert "rank 0" in ready.message
    assert "podFailurePolicy is evaluated when the pod has ended" in ready.message


def test_that_all_pods_were_created_is_recorded_while_one_of_them_is_ending() -> None:
    """Otherwise a missing pod would be taken for one that is still to be created."""
    decided = decide(make_view(nodes=2, failure_rules=FAIL), deleting(make_pod(0)), make_pod(1))

    assert decided.status.launched_attempt == 0
    assert decided.status.start_time is not None


def test_a_pod_stuck_in_terminating_is_named_with_its_node() -> None:
    pod = replace(deleting(make_pod(0), grace_s=30, since_s=0), node="gpu-7")
    job = make_view(LAUNCHED, nodes=2, failure_rules=FAIL)

    in_time = decide(job, pod, make_pod(1), now=at(1))
    assert in_time.requeue_at is not None
    late = decide(job, pod, make_pod(1), now=in_time.requeue_at)
    ready = late.status.condition("PodsReady")
    assert ready is not None
    assert f"pod {pod.name} on node gpu-7 should have terminated by" in ready.message


@pytest.mark.parametrize("pod", ANNOUNCED)
def test_without_rules_the_announcement_is_enough(pod: PodView) -> None:
    decided = decide(make_view(LAUNCHED, nodes=2), pod, make_pod(1))

    assert (decided.status.attempt, decided.status.disruptions) == (1, 1)


@pytest.mark.parametrize("here", [True, False])
def test_a_rule_fails_the_job_when_the_drained_pod_has_ended(*, here: bool) -> None:
    job = make_view(LAUNCHED, nodes=2, failure_rules=FAIL)
    drained = deleting(disrupted(failed(0, code=143)))

    pods = (drained, make_pod(1)) if here else (make_pod(1),)
    seen: dict[str, Any] = {} if here else {"ended": (drained,), "vanished": frozenset({0})}
    decided = decide(job, *pods, **seen)

    outcome = decided.status.condition(CONDITION_FAILED)
    assert outcome is not None
    assert outcome.reason == "PodFailurePolicy"
    assert "rule 0 of podFailurePolicy" in outcome.message
    assert decided.status.exit_code == 143


def test_a_pod_that_trapped_the_signal_and_ended_with_0_is_seen_by_the_rules() -> None:
    trapped = deleting(disrupted(succeeded(0, finished_at=at(-1))))

    failing = decide(make_view(LAUNCHED, failure_rules=FAIL), trapped)
    assert failing.status.is_true(CONDITION_FAILED)
    counting = decide(make_view(LAUNCHED, failure_rules=COUNT), trapped)
    assert (counting.status.restarts, counting.status.disruptions) == (1, 0)


def test_a_drained_pod_that_no_rule_matches_is_a_disruption() -> None:
    drained = deleting(disrupted(failed(0, code=143)))

    went: dict[str, Any] = {"ended": (drained,), "vanished": frozenset({0})}
    for seen in ({}, went):
        pods = () if seen else (drained,)
        decided = decide(make_view(LAUNCHED, failure_rules=OTHER), *pods, **seen)
        assert (decided.status.restarts, decided.status.disruptions) == (0, 1)
        restarting = decided.status.condition(CONDITION_RESTARTING)
        assert restarting is not None
        assert "was disrupted (EvictionByEvictionAPI)" in restarting.message


def test_the_failure_of_a_peer_waits_for_the_end_of_the_disrupted_pod() -> None:
    job = make_view(LAUNCHED, nodes=2, failure_rules=FAIL)
    draining = deleting(disrupted(make_pod(0)))

    waiting = decide(job, draining, failed(1))
    assert (waiting.status.attempt, waiting.status.is_finished) == (0, False)
    drained = replace(draining, phase=PodPhase.FAILED, exit_code=143)
    assert decide(job, drained, failed(1)).status.is_true(CONDITION_FAILED)


def test_a_main_container_that_ended_while_its_pod_is_disrupted_waits_for_the_rest() -> None:
    exits = (ContainerExit(container="trainer", exit_code=42),)
    pod = make_pod(0, exit_code=42, exits=exits, side_containers=("proxy",))
    ending = deleting(disrupted(pod))

    decided = decide(make_view(LAUNCHED, failure_rules=OTHER), ending)
    assert not decided.status.is_finished
    # If it disappears in this state, the main container's exit counts.
    gone = decide(make_view(LAUNCHED, failure_rules=OTHER), ended=(ending,), pods_are_live=True)
    assert gone.status.is_finished


def test_a_pod_that_disappears_without_an_exit_code_is_lost() -> None:
    job = make_view(LAUNCHED, failure_rules=FAIL)

    decided = decide(job, vanished=frozenset({0}), pods_are_live=True)

    assert (decided.status.attempt, decided.status.disruptions) == (1, 1)


def test_a_pod_that_only_finalizers_keep_is_not_waited_for() -> None:
    kept = replace(deleting(disrupted(make_pod(0, PodPhase.PENDING))), held_by="example.com/x")

    assert decide(make_view(LAUNCHED, failure_rules=FAIL), kept).status.attempt == 1


def test_deadlines_and_suspensions_do_not_wait_for_the_end() -> None:
    status = make_status(launched_attempt=0, start_time=at(-100))
    draining = deleting(disrupted(make_pod()))

    late = decide(make_view(status, active_deadline_s=10, failure_rules=FAIL), draining)
    assert late.status.is_true(CONDITION_FAILED)
    held = decide(make_view(status, suspend=True, failure_rules=FAIL), draining)
    assert held.status.is_true("Suspended")


def test_a_pod_that_failed_and_was_then_deleted_counts_as_a_failure() -> None:
    job = make_view(LAUNCHED, nodes=2)

    decided = decide(job, make_pod(1), ended=(failed(0, code=3),), vanished=frozenset({0}))

    assert (decided.status.restarts, decided.status.disruptions) == (1, 0)
    assert deleted_names(decided) == {make_pod(1).name}
