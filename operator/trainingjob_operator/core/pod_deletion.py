"""Pods that go when a job is finished or an attempt is taken down, and those that linger.

A dead node never removes its pods, and Kubernetes waits for it for ever: only the node could report
that nothing of the pod runs any more. A job that waits for such a pod says so.
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
    """Delete these pods; one that is being deleted already only if it shall go faster."""
    return tuple(
        DeletePod(name=p.name, uid=p.uid, grace_s=grace_s)
        for p in pods
        if not p.deleting or (grace_s is not None and (p.grace_s or 0) > grace_s)
    )


def pods_to_clean(
    status: JobStatus, clean_pod_policy: str, pods: tuple[PodView, ...]
) -> tuple[DeletePod, ...]:
    """Return the pods that go when the job is finished.

    `All`: all of them; `Running`: those that have not ended; `None`: none, but pods of earlier
    attempts never stay, a job whose deadline is over does not run on, and a rank that is over is
    not kept running by the containers beside its main one.
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
"""Seconds after the end of its grace period from which on a pod lingers; a kubelet that lives
needs a few to clean up."""

_WHAT_ENDS_IT: Final = (
    "It goes when the node answers again, is deleted, or has the taint "
    "node.kubernetes.io/out-of-service; if nothing runs there any more, "
    "`kubectl delete pod --force` frees it, too"
)


def lingering(pods: Iterable[PodView], *, now: datetime) -> str:
    """Name the pods that are there long after their time, on their nodes; "" if there is none."""
    late = sorted((_gone_by(pod), pod.name, pod.node) for pod in pods if _lingers(pod, now))
    if not late:
        return ""
    due, name, node = late[0]
    who = f"pod {name} on node {node}" + (f" and {len(late) - 1} more" if len(late) > 1 else "")
    return (
        f"{who} should have gone by {time_text(due)}, and the node has not said so: it may be "
        f"down. {_WHAT_ENDS_IT}"
    )


def append_stuck_pods(message: str, pods: Iterable[PodView], *, now: datetime) -> str:
    """Return the message, and which pods linger, if there are any."""
    return "; ".join(filter(None, [message, lingering(pods, now=now)]))


def next_stuck_at(pods: Iterable[PodView], *, now: datetime) -> datetime | None:
    """Return when the next pod begins to linger if it does not go before; None without one."""
    moments = (_lingers_at(pod) for pod in pods if _is_going(pod))
    return min((moment for moment in moments if moment > now), default=None)


def _is_going(pod: PodView) -> bool:
    """True if a node has to let the pod go."""
    is_on_its_way = pod.deleting and pod.stop_requested_at is not None
    return is_on_its_way and bool(pod.node) and not pod.held_by


def _gone_by(pod: PodView) -> datetime:
    """Return when the grace period of a pod that is going is over."""
    assert pod.stop_requested_at is not None
    return pod.stop_requested_at + timedelta(seconds=pod.grace_s or 0)


def _lingers_at(pod: PodView) -> datetime:
    return _gone_by(pod) + timedelta(seconds=STUCK_AFTER_S)


def _lingers(pod: PodView, now: datetime) -> bool:
    return _is_going(pod) and now >= _lingers_at(pod)
