"""The condition `PodsReady`: do all ranks run, and if not, what is in the way.

Where a job's time runs out, the same is said of its end.
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
from trainingjob_operator.core.message_text import cut
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
"""Waiting reasons of the kubelet that mean: this image does not come."""


class Readiness(NamedTuple):
    """True if the ranks are ready; else why not."""

    ready: bool
    reason: str
    message: str


def judge_readiness(ranks: Ranks, refusal: Refusal | None) -> Readiness:
    """Return the most helpful thing to say about why ranks do not run, the first cause first."""
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
        message = f"all {ranks.nodes} ranks run or have completed{beside}"
        return Readiness(True, REASON_PODS_READY, message)
    # Not before all have started: until then it changes with every pod.
    who = f": {found}" if ranks.all_started and (found := laggard(ranks)) else ""
    message = f"not every rank runs and is ready{who}{beside}"
    return Readiness(False, REASON_PODS_NOT_READY, message)


def _reason_of(waiting_reason: str) -> str:
    if waiting_reason == REASON_SCHEDULING_GATED:
        return waiting_reason
    return REASON_IMAGE_PULL if waiting_reason in _IMAGE_REASONS else REASON_PODS_NOT_READY


def laggard(ranks: Ranks) -> str:
    """Say which is the first rank that does not run or is not ready; "" if no pod is."""
    for pod in ranks.current:
        if pod.index not in ranks.completed | ranks.ready:
            where = f" on node {pod.node}" if pod.node else ""
            what = "runs and is not ready" if pod.phase is PodPhase.RUNNING else "does not run"
            return f"rank {pod.index} {what} (pod {pod.name}{where})"
    return ""


def running_beside(ranks: Ranks) -> str:
    """Return words on the first rank that is done while containers of its pod run; "" without one.

    They are to follow another statement.
    """
    for pod in ranks.current:
        if pod.index in ranks.completed and pod.side_containers:
            several = len(pod.side_containers) > 1
            names = ", ".join(pod.side_containers)
            return (
                f"; rank {pod.index} is done, and "
                f"{'containers' if several else 'container'} {names} of its pod {pod.name} "
                f"{'are' if several else 'is'} being stopped"
            )
    return ""


def mention_kept(readiness: Readiness, ranks: Ranks) -> Readiness:
    """Return the judgement with the pods of earlier attempts that finalizers keep."""
    kept = kept_pods(ranks.stale)
    return readiness._replace(message=f"{readiness.message}; {kept}") if kept else readiness


def kept_pods(pods: Iterable[PodView]) -> str:
    """Say which pods have ended and are kept by finalizers; "" if none is."""
    kept = [pod for pod in pods if pod.held_by]
    if not kept:
        return ""
    who = f"pod {kept[0].name}" + (f" and {len(kept) - 1} more" if len(kept) > 1 else "")
    verb = "have" if len(kept) > 1 else "has"
    return f"{who} {verb} ended and cannot go before its finalizers do ({kept[0].held_by})"


def set_readiness(draft: StatusDraft, readiness: Readiness) -> StatusDraft:
    """Write the judgement into the condition."""
    return draft.with_condition(
        CONDITION_PODS_READY,
        to=readiness.ready,
        reason=readiness.reason,
        message=readiness.message,
    )


def blocked_status(job: JobView, reason: str, message: str, *, now: datetime) -> JobStatus:
    """Return the status of a job that is not started yet, with what is in the way."""
    draft = StatusDraft.of(job, now=now).with_fields(phase=job.status.phase or "Pending")
    return set_readiness(draft, Readiness(ready=False, reason=reason, message=message)).status


def says_queued(status: JobStatus) -> bool:
    """True if the status says already that the job waits for room."""
    said = status.condition(CONDITION_PODS_READY)
    return said is not None and said.reason == REASON_QUEUED


_LONGEST_OBSTACLE: Final = 768
"""Bytes of it, so that it leaves room in a condition's message for what stands around it."""


def obstacle(ctx: PlanContext) -> str:
    """Return what keeps ranks from running, as words to follow another statement; "" if nothing.

    It is what the pods, or a refusal that is remembered, say now. Where neither says anything (no
    pod is there, and the operator has just started), it is what the status has said last.
    """
    if ctx.ranks.missing and ctx.seen.refusal is None:
        said = ctx.status.condition(CONDITION_PODS_READY)
        return _words(said.reason, said.message) if said is not None and not said.status else ""
    found = judge_readiness(ctx.ranks, ctx.seen.refusal if ctx.ranks.missing else None)
    return "" if found.ready else _words(found.reason, found.message + _who(ctx, found.message))


def _words(reason: str, message: str) -> str:
    return cut(f"; {reason}: {message}", _LONGEST_OBSTACLE)


def _who(ctx: PlanContext, message: str) -> str:
    """Return the first rank that does not run, if the message names none."""
    who = laggard(ctx.ranks)
    return f": {who}" if who and who not in message and not message.startswith("rank ") else ""
