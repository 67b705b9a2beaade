"""A job that waits for a pod stuck in Terminating names the pod, its node, and how to resolve it."""

from dataclasses import replace

import pytest

from tests.support.views import (
    at,
    decide,
    deleting,
    make_condition,
    make_pod,
    make_status,
    make_view,
    pending,
)
from trainingjob_api.constants import CONDITION_PODS_READY
from trainingjob_operator.core.decision import Plan
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.pod import PodView
from trainingjob_operator.core.pod_deletion import STUCK_AFTER_S

GRACE_S = 30
LATE = at(GRACE_S + STUCK_AFTER_S)

RESTARTED = make_view(make_status(attempt=1, launched_attempt=0, phase="Restarting"))
SUSPENDED = make_view(make_status(attempt=1, launched_attempt=0), suspend=True)
STOPPING = make_view(make_status(launched_attempt=0), shutdown="Stop")
WAITING = pytest.mark.parametrize(
    "job", [RESTARTED, SUSPENDED, STOPPING], ids=["restarted", "suspended", "stopping"]
)


def going(index: int = 0, *, node: str = "gpu-7") -> PodView:
    """A pod whose deletion was requested now."""
    return replace(deleting(make_pod(index), grace_s=GRACE_S, since_s=0), node=node)


def said(decided: Plan) -> str:
    condition = decided.status.condition(CONDITION_PODS_READY)
    assert condition is not None
    assert not condition.status
    return condition.message


@WAITING
def test_a_stuck_pod_is_named_with_its_node_and_a_way_to_resolve_it(
    job: JobView,
) -> None:
    message = said(decide(job, going(), now=LATE))

    assert f"pod {going().name} on node gpu-7 should have terminated by" in message
    assert "out-of-service" in message
    assert len(message.encode()) <= 1024


@WAITING
def test_the_next_pass_is_due_when_a_terminating_pod_becomes_stuck(job: JobView) -> None:
    decided = decide(job, going(), now=at(GRACE_S + 1))

    assert "gpu-7" not in said(decided)
    assert decided.requeue_at == LATE


@WAITING
def test_the_status_does_not_change_while_the_same_pod_stays_stuck(job: JobView) -> None:
    first = decide(job, going(), now=LATE)

    again = decide(replace(job, status=first.status), going(), now=at(3600))

    assert again.status == first.status


def test_of_several_pods_the_first_is_named_and_the_others_are_counted() -> None:
    message = said(decide(RESTARTED, going(1), going(0), going(2), now=LATE))

    assert f"pod {going(0).name} on node gpu-7 and 2 more should" in message


@pytest.mark.parametrize(
    "pod",
    [
        going(node=""),
        replace(going(), held_by="example.com/hold"),
        replace(make_pod(), node="gpu-7"),
    ],
    ids=["never bound", "held by a finalizer", "not deleted"],
)
def test_a_pod_that_does_not_wait_for_its_node_is_not_reported_as_stuck(pod: PodView) -> None:
    assert "gpu-7 should" not in said(decide(SUSPENDED, pod, now=LATE))


def test_the_first_rank_that_is_not_ready_is_named_with_its_node_once_all_have_started() -> None:
    job = make_view(make_status(make_condition(CONDITION_PODS_READY)), nodes=3)
    ranks = [make_pod(0), make_pod(1, ready=False, node="gpu-7"), make_pod(2, ready=False)]

    assert f"rank 1 is running but not ready (pod {ranks[1].name} on node gpu-7)" in said(
        decide(job, *ranks)
    )
    ranks[2] = pending(2)  # while they start, each would be another message
    assert "rank 1" not in said(decide(job, *ranks))
