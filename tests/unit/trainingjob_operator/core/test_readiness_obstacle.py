"""The message of an expired deadline contains what kept ranks from running."""

from typing import Any

import pytest

from tests.support.views import (
    NOW,
    at,
    decide,
    deleting,
    make_condition,
    make_pod,
    make_status,
    make_view,
    pending,
)
from trainingjob_api.constants import (
    CONDITION_FAILED,
    CONDITION_PODS_READY,
    CONDITION_RESTARTING,
    REASON_QUOTA_EXCEEDED,
)
from trainingjob_operator.core.decision import Refusal
from trainingjob_operator.core.pod import PodView

NO_NODE = "0/3 nodes are available"
QUOTA = Refusal(
    reason=REASON_QUOTA_EXCEEDED,
    message="exceeded quota: gpus",
    refused_at=at(-1),
    retry_at=at(60),
    attempt=0,
    generation=1,
    changed_retry_at=at(60),
)
DEADLINES = pytest.mark.parametrize(
    "deadline", [{"active_deadline_s": 100}, {"pre_running_deadline_s": 100}], ids=["all", "start"]
)


def outcome(*pods: PodView, backoff_limit: int = 0, said: str = "", **fields: Any) -> str:
    """Return the message of the job's end, or of its restart, when a deadline expires."""
    spec = {name: fields.pop(name) for name in tuple(fields) if name.endswith("deadline_s")}
    conditions = (
        [make_condition(CONDITION_PODS_READY, status=False, reason="Forbidden", message=said)]
        if said
        else []
    )
    status = make_status(
        *conditions, start_time=at(-100), attempt_start_time=at(-100), phase="Pending"
    )
    job = make_view(status, nodes=2, backoff_limit=backoff_limit, **spec)
    decided = decide(job, *pods, now=NOW, **fields)
    kind = CONDITION_RESTARTING if backoff_limit else CONDITION_FAILED
    condition = decided.status.condition(kind)
    assert condition is not None
    assert condition.status
    return condition.message


@DEADLINES
@pytest.mark.parametrize(
    ("pods", "words"),
    [
        ([make_pod(0), pending(1, unschedulable=NO_NODE)], f"; Unschedulable: rank 1: {NO_NODE}"),
        (
            [pending(0, waiting_reason="ImagePullBackOff", waiting_message="gone"), make_pod(1)],
            "; ImagePull: rank 0: ImagePullBackOff: gone",
        ),
        (
            [make_pod(0), pending(1, node="gpu-7")],
            f"rank 1 is not running (pod {pending(1).name} on node gpu-7)",
        ),
    ],
    ids=["no node", "no image", "a rank that does not come"],
)
def test_the_message_contains_the_obstacle_of_the_pods(
    deadline: dict[str, Any], pods: list[PodView], words: str
) -> None:
    assert words in outcome(*pods, **deadline)


@DEADLINES
def test_the_message_contains_the_refusal_of_the_api_server(deadline: dict[str, Any]) -> None:
    assert "; QuotaExceeded: exceeded quota: gpus" in outcome(
        pending(0), refusal=QUOTA, **deadline
    )


@DEADLINES
def test_the_message_falls_back_to_the_last_status(
    deadline: dict[str, Any],
) -> None:
    assert "; Forbidden: no right" in outcome(said="no right", **deadline)


def test_the_message_of_a_counted_restart_contains_the_obstacle() -> None:
    pod = pending(1, unschedulable=NO_NODE)

    assert NO_NODE in outcome(make_pod(0), pod, pre_running_deadline_s=100, backoff_limit=3)


def test_a_job_that_ran_has_no_obstacle() -> None:
    message = outcome(make_pod(0), make_pod(1), active_deadline_s=100)

    assert message.endswith("(spec.activeDeadlineSeconds)")


def test_a_long_obstacle_is_truncated_to_leave_room_for_the_rest() -> None:
    pod = pending(1, unschedulable="x" * 5000)

    message = outcome(make_pod(0), pod, pre_running_deadline_s=100)

    assert message.endswith("no restart left of backoffLimit 0")
    assert len(message.encode()) <= 1024


def test_the_message_names_a_stuck_pod_of_an_earlier_attempt() -> None:
    stuck = deleting(make_pod(0, node="gpu-7"), since_s=-3600)
    status = make_status(attempt=1, launched_attempt=0, start_time=at(-200), phase="Restarting")
    waiting = decide(make_view(status, active_deadline_s=250), stuck)

    ended = decide(make_view(waiting.status, active_deadline_s=250), stuck, now=at(50))

    failed = ended.status.condition(CONDITION_FAILED)
    assert failed is not None
    assert "on node gpu-7" in failed.message
