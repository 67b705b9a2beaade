"""Selects the pods to delete, and detects pods that are stuck in Terminating.

When a node is dead, its pods stay in Terminating for ever: only the kubelet can confirm that their
containers have stopped. A job that waits for such a pod says so in its condition.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from trainingjob_api.constants import (
    CONDITION_FAILED,
    REASON_DEADLINE_EXCEEDED,
    REASON_PRE_RUNNING_DEADLINE_EXCEEDED,
)
from trainingjob_operator.core.decision import DeletePod
from trainingjob_operator.core.job import JobStatus
from trainingjob_operator.core.pod import PodView
from trainingjob_operator.core.untyped_json import time_text

_OUT_OF_TIME: Final = frozenset({REASON_DEADLINE_EXCEEDED, REASON_PRE_RUNNING_DEADLINE_EXCEEDED})


def deletions(pods: Iterable[PodView], *, grace_s: int | None = None) -> tuple[DeletePod, ...]:
    """Return the deletions of these pods.

    A pod that is already terminating is deleted again only to shorten its grace period.
    """
    return tuple(
        DeletePod(name=p.name, uid=p.uid, grace_s=grace_s)
        for p in pods
        if not p.deleting or (grace_s is not None and (p.grace_s or 0) > grace_s)
    )


def pods_to_clean(
    status: JobStatus, clean_pod_policy: str, pods: tuple[PodView, ...]
) -> tuple[DeletePod, ...]:
    """Return the deletions that `spec.cleanPodPolicy` demands when the job has finished.

    `All` deletes every pod, `Running` those that have not ended, `None` none. Three kinds of pods are
    deleted in any case: pods of earlier attempts, running pods of a job that exceeded a deadline, and
    pods whose main container has ended while their side containers run on.
    """
    deadline = status.condition(CONDITION_FAILED)
    overdue = deadline is not None and deadline.reason in _OUT_OF_TIME
    match clean_pod_policy:
        case "All":
            return deletions(pods)
        case "None" if not overdue:
            return deletions(p for p in pods if p.side_containers or p.attempt != status.attempt)
        case _:
            return deletions(p for p in pods if p.needs_a_stop or p.attempt != status.attempt)


STUCK_AFTER_S: Final = 60
"""Seconds after the end of its grace period at which a pod counts as stuck. A healthy kubelet
cleans up within a few."""

_HOW_TO_RESOLVE: Final = (
    "The pod is removed when the node reports again, is deleted, or gets the taint "
    "node.kubernetes.io/out-of-service; if nothing runs there any more, "
    "`kubectl delete pod --force` removes it, too"
)


def describe_stuck_pods(pods: Iterable[PodView], *, now: datetime) -> str:
    """Return a sentence on the pods that are stuck in Terminating and their nodes; "" if none is."""
    late = sorted((_grace_ends_at(pod), pod.name, pod.node) for pod in pods if _is_stuck(pod, now))
    if not late:
        return ""
    due, name, node = late[0]
    who = f"pod {name} on node {node}" + (f" and {len(late) - 1} more" if len(late) > 1 else "")
    return (
        f"{who} should have terminated by {time_text(due)}, and the node has not confirmed it: it "
        f"may be down. {_HOW_TO_RESOLVE}"
    )


def append_stuck_pods(message: str, pods: Iterable[PodView], *, now: datetime) -> str:
    """Return the message, followed by the pods that are stuck in Terminating, if any."""
    return "; ".join(filter(None, [message, describe_stuck_pods(pods, now=now)]))


def next_stuck_at(pods: Iterable[PodView], *, now: datetime) -> datetime | None:
    """Return the time at which the next terminating pod will count as stuck; None if none will."""
    moments = (_stuck_at(pod) for pod in pods if _awaits_node(pod))
    return min((moment for moment in moments if moment > now), default=None)


def _awaits_node(pod: PodView) -> bool:
    """True if the pod is terminating and only its node can confirm its end."""
    is_terminating = pod.deleting and pod.stop_requested_at is not None
    return is_terminating and bool(pod.node) and not pod.held_by


def _grace_ends_at(pod: PodView) -> datetime:
    """Return the end of a terminating pod's grace period."""
    assert pod.stop_requested_at is not None
    return pod.stop_requested_at + timedelta(seconds=pod.grace_s or 0)


def _stuck_at(pod: PodView) -> datetime:
    return _grace_ends_at(pod) + timedelta(seconds=STUCK_AFTER_S)


def _is_stuck(pod: PodView, now: datetime) -> bool:
    return _awaits_node(pod) and now >= _stuck_at(pod)
