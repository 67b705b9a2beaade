"""Pods that were asked to go and are there long after their time: which, where, and what ends it.

A node that is dead lets no pod go, and Kubernetes waits for it for ever: only the node could tell
that nothing of the pod runs any more. Whoever waits for such a pod says so.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from trainingjob_operator.core.pod import PodView
from trainingjob_operator.core.rawread import time_text

LINGERS_AFTER_S: Final = 60
"""Seconds after the end of its grace period from which on a pod lingers; a kubelet that lives
needs a few to clean up."""

_WHAT_ENDS_IT: Final = (
    "It goes when the node answers again, is deleted, or has the taint "
    "node.kubernetes.io/out-of-service; if nothing runs there any more, "
    "`kubectl delete pod --force` frees it, too"
)


def lingering(pods: Iterable[PodView], *, now: datetime) -> str:
    """Say which pods their nodes have not let go long after their time; "" if there is none."""
    late = sorted((_gone_by(pod), pod.name, pod.node) for pod in pods if _lingers(pod, now))
    if not late:
        return ""
    due, name, node = late[0]
    who = f"pod {name} on node {node}" + (f" and {len(late) - 1} more" if len(late) > 1 else "")
    return (
        f"{who} should have gone by {time_text(due)}, and the node has not said so: it may be "
        f"down. {_WHAT_ENDS_IT}"
    )


def and_lingering(message: str, pods: Iterable[PodView], *, now: datetime) -> str:
    """Return the message, and which pods linger, if there are any."""
    return "; ".join(filter(None, [message, lingering(pods, now=now)]))


def next_lingers_at(pods: Iterable[PodView], *, now: datetime) -> datetime | None:
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
    return _gone_by(pod) + timedelta(seconds=LINGERS_AFTER_S)


def _lingers(pod: PodView, now: datetime) -> bool:
    return _is_going(pod) and now >= _lingers_at(pod)
