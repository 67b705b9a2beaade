"""Derives the condition `PodsReady`: whether all ranks are ready, and if not, the most likely cause.

When a deadline expires, the same cause is added to the message of the job's end.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple

from trainingjob_api.constants import (
    CONDITION_PODS_READY,
    REASON_IMAGE_PULL,
    REASON_PODS_NOT_READY,
    REASON_PODS_READY,
    REASON_QUEUED,
    REASON_SCHEDULING_GATED,
    REASON_UNSCHEDULABLE,
)
from trainingjob_operator.core.decision import Refusal
from trainingjob_operator.core.job import JobStatus, JobView
from trainingjob_operator.core.message_text import truncate
from trainingjob_operator.core.plan_context import PlanContext
from trainingjob_operator.core.pod import PodPhase, PodView
from trainingjob_operator.core.ranks import Ranks
from trainingjob_operator.core.status_draft import StatusDraft

_IMAGE_REASONS: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
"""Waiting reasons of the kubelet that mean that the image cannot be pulled."""


class Readiness(NamedTuple):
    """Status, reason and message of the condition `PodsReady`."""

    ready: bool
    reason: str
    message: str


def judge_readiness(ranks: Ranks, refusal: Refusal | None) -> Readiness:
    """Return the readiness of the ranks, with the most helpful cause if they are not ready."""
    if refusal is not None:
        return Readiness(ready=False, reason=refusal.reason, message=refusal.message)
    for pod in ranks.current:
        if pod.unschedulable:
            return Readiness(False, REASON_UNSCHEDULABLE, f"rank {pod.index}: {pod.unschedulable}")
    for pod in ranks.current:
        if pod.waiting_reason and not pod.has_ended:
            reason = _reason_of(pod.waiting_reason)
            message = f"rank {pod.index}: {pod.waiting_reason}: {pod.waiting_message}"
            return Readiness(False, reason, message)
    ready = len(ranks.ready)
    beside = running_beside(ranks)
    if ready and ready + len(ranks.completed) == ranks.nodes:
        message = f"all {ranks.nodes} ranks are ready or have completed{beside}"
        return Readiness(True, REASON_PODS_READY, message)
    # A rank is named only after all have started: before that it would change with every pod.
    who = f": {found}" if ranks.all_started and (found := first_unready_rank(ranks)) else ""
    message = f"not every rank is running and ready{who}{beside}"
    return Readiness(False, REASON_PODS_NOT_READY, message)


def _reason_of(waiting_reason: str) -> str:
    if waiting_reason == REASON_SCHEDULING_GATED:
        return waiting_reason
    return REASON_IMAGE_PULL if waiting_reason in _IMAGE_REASONS else REASON_PODS_NOT_READY


def first_unready_rank(ranks: Ranks) -> str:
    """Return a description of the first rank whose pod is not running and ready; "" if there is none."""
    for pod in ranks.current:
        if pod.index not in ranks.completed | ranks.ready:
            where = f" on node {pod.node}" if pod.node else ""
            what = (
                "is running but not ready" if pod.phase is PodPhase.RUNNING else "is not running"
            )
            return f"rank {pod.index} {what} (pod {pod.name}{where})"
    return ""


def running_beside(ranks: Ranks) -> str:
    """Return a clause on the first completed rank whose pod still runs containers; "" without one.

    It starts with a semicolon, to be appended to a message.
    """
    for pod in ranks.current:
        if pod.index in ranks.completed and pod.side_containers:
            several = len(pod.side_containers) > 1
            names = ", ".join(pod.side_containers)
            return (
                f"; rank {pod.index} has completed, and "
                f"{'containers' if several else 'container'} {names} of its pod {pod.name} "
                f"{'are' if several else 'is'} being stopped"
            )
    return ""


def append_kept_pods(readiness: Readiness, ranks: Ranks) -> Readiness:
    """Return the readiness with the pods of earlier attempts that finalizers keep."""
    kept = kept_pods(ranks.stale)
    return readiness._replace(message=f"{readiness.message}; {kept}") if kept else readiness


def kept_pods(pods: Iterable[PodView]) -> str:
    """Return a clause on the ended pods that finalizers keep; "" if there are none."""
    kept = [pod for pod in pods if pod.held_by]
    if not kept:
        return ""
    who = f"pod {kept[0].name}" + (f" and {len(kept) - 1} more" if len(kept) > 1 else "")
    verb = "have" if len(kept) > 1 else "has"
    return (
        f"{who} {verb} ended and cannot be removed before the finalizers are ({kept[0].held_by})"
    )


def set_readiness(draft: StatusDraft, readiness: Readiness) -> StatusDraft:
    """Set the condition `PodsReady`."""
    return draft.with_condition(
        CONDITION_PODS_READY,
        to=readiness.ready,
        reason=readiness.reason,
        message=readiness.message,
    )


def blocked_status(job: JobView, reason: str, message: str, *, now: datetime) -> JobStatus:
    """Return the status of a job that has not started, with the cause in `PodsReady`."""
    draft = StatusDraft.of(job, now=now).with_fields(phase=job.status.phase or "Pending")
    return set_readiness(draft, Readiness(ready=False, reason=reason, message=message)).status


def says_queued(status: JobStatus) -> bool:
    """True if the status already says that the job is queued for the operator's limit of pods."""
    said = status.condition(CONDITION_PODS_READY)
    return said is not None and said.reason == REASON_QUEUED


_LONGEST_OBSTACLE: Final = 768
"""Maximum length in bytes, to leave room for the rest of a condition's message."""


def obstacle(ctx: PlanContext) -> str:
    """Return a clause on what keeps ranks from running, to be appended to a message; "" if nothing.

    It comes from the pods or from a remembered refusal. If there is neither (no pod exists and the
    operator has just started), it is the last `PodsReady` message in status.
    """
    if ctx.ranks.missing and ctx.seen.refusal is None:
        said = ctx.status.condition(CONDITION_PODS_READY)
        return _words(said.reason, said.message) if said is not None and not said.status else ""
    found = judge_readiness(ctx.ranks, ctx.seen.refusal if ctx.ranks.missing else None)
    return "" if found.ready else _words(found.reason, found.message + _who(ctx, found.message))


def _words(reason: str, message: str) -> str:
    return truncate(f"; {reason}: {message}", _LONGEST_OBSTACLE)


def _who(ctx: PlanContext, message: str) -> str:
    """Return a clause on the first rank that is not ready, unless the message names one already."""
    who = first_unready_rank(ctx.ranks)
    return f": {who}" if who and who not in message and not message.startswith("rank ") else ""
