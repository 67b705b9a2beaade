"""Runs the current attempt: waits for pods of earlier attempts, creates missing pods, sets readiness.

No pod is created while pods of an earlier attempt may still run. A pod that has ended and is only
kept by finalizers does not block the next attempt: the attempt's number is part of a pod's name.
"""

from datetime import datetime
from typing import Final

from trainingjob_api.constants import CONDITION_RESTARTING
from trainingjob_operator.core.deadlines import attempt_start
from trainingjob_operator.core.decision import DeletePod, Plan, Refusal
from trainingjob_operator.core.fast_replace import replace_fields
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.partial_gang import (
    begin_gang_retry,
    gang_retry_at,
    partial_hold_deadline,
)
from trainingjob_operator.core.plan_context import PlanContext
from trainingjob_operator.core.pod_deletion import append_stuck_pods, deletions, next_stuck_at
from trainingjob_operator.core.ranks import Ranks
from trainingjob_operator.core.readiness import (
    append_kept_pods,
    judge_readiness,
    kept_pods,
    set_readiness,
)
from trainingjob_operator.core.restart import may_start_at
from trainingjob_operator.core.suspension import resumed

_NOT_REMOVED: Final = "pods of an earlier attempt have not been removed yet"
_MAX_EXTRA_KEPT: Final = 16


def _earlier_pods_block(ranks: Ranks) -> bool:
    """True if pods of earlier attempts may run, or if finalizers keep too many of them.

    Each attempt can leave as many kept pods as it has ranks, and all of them are in the index.
    """
    kept = sum(bool(pod.held_by) for pod in ranks.stale)
    return kept < len(ranks.stale) or kept > 2 * ranks.nodes + _MAX_EXTRA_KEPT


def run_attempt(ctx: PlanContext) -> Plan:
    """Create missing pods of the current attempt, stop completed ranks, and set `PodsReady`."""
    decided = _follow(resumed(ctx))
    return replace_fields(decided, delete=decided.delete + _stop_completed(ctx.ranks))


def _stop_completed(ranks: Ranks) -> tuple[DeletePod, ...]:
    """Delete the pods of completed ranks in which other containers still run.

    Deletion is the only way to stop them. Status says before that their ranks have completed.
    """
    return deletions(p for p in ranks.current if p.side_containers and p.index in ranks.completed)


def _follow(ctx: PlanContext) -> Plan:
    if _earlier_pods_block(ctx.ranks):
        kept = kept_pods(ctx.ranks.stale)
        message = append_stuck_pods(_NOT_REMOVED, ctx.ranks.stale, now=ctx.now)
        waiting = ctx.not_ready("; ".join(filter(None, [message, kept])))
        return Plan(
            status=waiting.status,
            delete=deletions(ctx.ranks.stale),
            requeue_at=next_stuck_at(ctx.ranks.stale, now=ctx.now),
        )
    due = gang_retry_at(ctx.job, ctx.status, ctx.settings) or may_start_at(
        ctx.status, ctx.settings
    )
    if due is not None and ctx.now < due:
        return Plan(status=ctx.status, requeue_at=due)
    ctx = begin_gang_retry(ctx)
    start = attempt_start(ctx.status, ctx.ranks, ctx.seen.refusal, now=ctx.now)
    ctx = with_launch(ctx.with_status(replace_fields(ctx.status, attempt_start_time=start)))
    refusal = ctx.seen.refusal if ctx.ranks.missing else None
    readiness = append_kept_pods(judge_readiness(ctx.ranks, refusal), ctx.ranks)
    status = set_readiness(ctx.draft, readiness).status
    if refusal is not None and ctx.now < (due := _retry_at(refusal, ctx)):
        return Plan(status=status, requeue_at=due)
    return Plan(status=status, create=tuple(sorted(ctx.ranks.missing)))


def with_launch(ctx: PlanContext) -> PlanContext:
    """Return the context with the status updated for the pods that have been created."""
    if ctx.ranks.current:
        ctx = ctx.no_restart_pending(f"attempt {ctx.status.attempt} has started")
        ctx = ctx.with_status(
            replace_fields(ctx.status, start_time=ctx.status.start_time or ctx.now)
        )
    if not ctx.ranks.missing:
        ctx = ctx.with_status(replace_fields(ctx.status, launched_attempt=ctx.status.attempt))
    return ctx


def _retry_at(refusal: Refusal, ctx: PlanContext) -> datetime:
    """Return the time of the next try, at the latest the end of a partly created gang's hold."""
    ends = partial_hold_deadline(refusal, ctx.job, ctx.settings)
    if ends is None or refusal.refused_at >= ends:
        return refusal.retry_at
    return min(refusal.retry_at, ends)


def should_run(job: JobView) -> bool:
    """True if the job should have pods: it is valid, and not finished, suspended or ending."""
    is_over = job.status.is_finished or job.invalid is not None
    return not (job.spec.suspend or job.should_end or is_over)


def has_begun(job: JobView) -> bool:
    """True if status says that an attempt has been launched or that a restart is pending."""
    status = job.status
    return status.launched_attempt == status.attempt or status.is_true(CONDITION_RESTARTING)
