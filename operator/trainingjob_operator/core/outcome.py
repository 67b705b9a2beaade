"""The plan's steps that end an attempt or a job: completion, failure, disruption, deadlines."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from trainingjob_api.constants import (
    CONDITION_COMPLETE,
    CONDITION_FAILED,
    REASON_BACKOFF_LIMIT_EXCEEDED,
    REASON_COMPLETIONS_REACHED,
    REASON_DEADLINE_EXCEEDED,
    REASON_DISRUPTION_LIMIT_EXCEEDED,
    REASON_EVICTED,
    REASON_INVALID_POD_TEMPLATE,
    REASON_INVALID_SPEC,
    REASON_NODE_LOST,
    REASON_POD_FAILED,
    REASON_POD_FAILURE_POLICY,
    REASON_POD_LOST,
    REASON_POD_REJECTED,
    REASON_PRE_RUNNING_DEADLINE_EXCEEDED,
)
from trainingjob_operator.core.attempt import with_launch
from trainingjob_operator.core.deadlines import active_deadline, pre_running_deadline
from trainingjob_operator.core.decision import Plan
from trainingjob_operator.core.failure_policy import Verdict, judge
from trainingjob_operator.core.naming import format_indexes
from trainingjob_operator.core.plan_context import PlanContext
from trainingjob_operator.core.pod import PodView
from trainingjob_operator.core.pod_deletion import append_stuck_pods, next_stuck_at
from trainingjob_operator.core.readiness import obstacle, running_beside
from trainingjob_operator.core.restart import PROGRESS, is_disruption_limit_reached

_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_NODE_LOST_REASONS: Final = frozenset({"DeletionByTaintManager", "NodeLost"})


def when_invalid(ctx: PlanContext) -> Plan | None:
    """Fail a job whose spec is invalid."""
    if ctx.job.invalid is None:
        return None
    return ctx.finish(CONDITION_FAILED, reason=REASON_INVALID_SPEC, message=ctx.job.invalid)


def when_refused(ctx: PlanContext) -> Plan | None:
    """Fail a job whose pod the API server rejects as invalid: waiting does not help."""
    refusal = ctx.seen.refusal
    if refusal is None or not refusal.fatal:
        return None
    return ctx.finish(
        CONDITION_FAILED, reason=REASON_INVALID_POD_TEMPLATE, message=refusal.message
    )


def when_complete(ctx: PlanContext) -> Plan | None:
    """Complete a job whose ranks have all completed."""
    if not ctx.ranks.is_complete:
        return None
    nodes = ctx.ranks.nodes
    message = "the rank completed" if nodes == 1 else f"all {nodes} ranks completed"
    return ctx.finish(
        CONDITION_COMPLETE,
        reason=REASON_COMPLETIONS_REACHED,
        message=message + running_beside(ctx.ranks),
        exit_code=0,
    )


def when_failed(ctx: PlanContext) -> Plan | None:
    """Restart all ranks after a rank failed; fail the job if `backoffLimit` is exhausted.

    A disruption takes precedence over failures of other ranks: when one rank is drained, the others
    fail because they lose their peer. This also holds if the drained pod is already gone. Only a
    `FailJob` rule takes precedence over a disruption.
    """
    rules = ctx.spec.failure_rules
    ending = {pod.index for pod in ctx.ranks.ending} if rules else set()
    judged = [(pod, *judge(pod, rules)) for pod in ctx.ranks.over if pod.index not in ending]
    for pod, verdict, rule in judged:
        if verdict is Verdict.FAIL_JOB:
            return ctx.finish(
                CONDITION_FAILED,
                reason=REASON_POD_FAILURE_POLICY,
                message=f"{_describe(pod)}; rule {rule} of podFailurePolicy fails the job",
                exit_code=pod.exit_code,
            )
    disrupted = any(not pod.has_ended for pod in ctx.ranks.disrupted)
    if (
        not judged
        or disrupted
        or _awaits_pod_end(ctx)
        or ctx.ranks.lost
        or any(verdict is Verdict.IGNORE for _, verdict, _ in judged)
    ):
        return None
    culprit = _earliest([pod for pod, _, _ in judged])
    return _restart_or_fail(
        ctx,
        reason=REASON_POD_FAILED,
        exhausted_reason=REASON_BACKOFF_LIMIT_EXCEEDED,
        message=_describe(culprit),
        exit_code=culprit.exit_code,
    )


def when_disrupted(ctx: PlanContext) -> Plan | None:
    """Restart all ranks after a rank was disrupted, without counting towards `backoffLimit`.

    A missing pod counts as lost only after a live read: a watch can lag or miss events.
    """
    if _awaits_pod_end(ctx):
        return None
    gone = ctx.ranks.disrupted
    if not gone and not ctx.ranks.lost:
        gone = ctx.ranks.over  # failures with the action Ignore
    if gone:
        pod = _earliest(gone)
        message = _describe(pod, disrupted=True)
        return _restart_for_disruption(
            ctx, reason=_disruption_reason(pod), message=message, exit_code=pod.exit_code
        )
    if not ctx.ranks.lost:
        return None
    if not ctx.seen.pods_are_live:
        return Plan(status=ctx.seen.job.status, needs_live_pods=True)
    ranks = format_indexes(ctx.ranks.lost)
    return _restart_for_disruption(
        ctx, reason=REASON_POD_LOST, message=f"the pod of rank {ranks} is gone"
    )


def while_ending(ctx: PlanContext) -> Plan | None:
    """Wait for a disrupted pod to end, because podFailurePolicy looks at how it ended.

    On a dead node the pod never ends. But there every restart has to wait until the pod is removed.
    """
    if not _awaits_pod_end(ctx):
        return None
    ending = ctx.ranks.ending
    what = _describe(ending[0], disrupted=True)
    message = f"{what}; podFailurePolicy is evaluated when the pod has ended"
    waiting = with_launch(ctx).not_ready(append_stuck_pods(message, ending, now=ctx.now))
    return Plan(status=waiting.status, requeue_at=next_stuck_at(ending, now=ctx.now))


def _awaits_pod_end(ctx: PlanContext) -> bool:
    return bool(ctx.spec.failure_rules and ctx.ranks.ending)


def when_overdue(ctx: PlanContext) -> Plan | None:
    """Fail the job, or restart the attempt, when one of the deadlines has expired."""
    if _is_over(active_deadline(ctx.job, ctx.status), ctx.now):
        return ctx.finish(
            CONDITION_FAILED,
            reason=REASON_DEADLINE_EXCEEDED,
            message=f"the job was active for longer than {ctx.spec.active_deadline_s} s "
            f"(spec.activeDeadlineSeconds){obstacle(ctx)}",
        )
    if _is_over(pre_running_deadline(ctx.job, ctx.status, ctx.ranks), ctx.now):
        return _restart_or_fail(
            ctx,
            reason=REASON_PRE_RUNNING_DEADLINE_EXCEEDED,
            exhausted_reason=REASON_PRE_RUNNING_DEADLINE_EXCEEDED,
            message=f"not every rank ran within {ctx.spec.pre_running_deadline_s} s "
            f"(spec.preRunningDeadlineSeconds){obstacle(ctx)}",
        )
    return None


def _is_over(deadline: datetime | None, now: datetime) -> bool:
    return deadline is not None and now >= deadline


def _restart_or_fail(
    ctx: PlanContext,
    *,
    reason: str,
    exhausted_reason: str,
    message: str,
    exit_code: int | None = None,
) -> Plan:
    """Restart all ranks, counted towards `backoffLimit`; fail the job if that is exhausted."""
    spent, limit = ctx.status.restarts, ctx.spec.backoff_limit
    if spent < limit:
        return ctx.restart(counted=True, reason=reason, message=message)
    return ctx.finish(
        CONDITION_FAILED,
        reason=exhausted_reason,
        message=f"{message}; no restart left of backoffLimit {limit}",
        exit_code=exit_code,
    )


def _restart_for_disruption(
    ctx: PlanContext, *, reason: str, message: str, exit_code: int | None = None
) -> Plan:
    """Restart all ranks, counted as a disruption; fail the job if `disruptionLimit` is exceeded."""
    limit = ctx.spec.disruption_limit
    if not is_disruption_limit_reached(ctx.status, limit):
        return ctx.restart(counted=False, reason=reason, message=message)
    return ctx.finish(
        CONDITION_FAILED,
        reason=REASON_DISRUPTION_LIMIT_EXCEEDED,
        message=f"{message}; more than {limit} disruptions in a row (spec.disruptionLimit), "
        f"between which not every rank was ready for {PROGRESS.total_seconds() / 60:g} minutes",
        exit_code=exit_code,
    )


def _earliest(pods: Sequence[PodView]) -> PodView:
    """Return the pod that ended first, by its finish time; then the lowest rank."""
    return min(pods, key=lambda p: (p.finished_at or _NEVER, p.index))


def _disruption_reason(pod: PodView) -> str:
    if pod.disruption in _NODE_LOST_REASONS:
        return REASON_NODE_LOST
    if pod.disruption:
        return REASON_EVICTED
    if pod.rejected:
        return REASON_POD_REJECTED
    return REASON_POD_LOST if pod.deleting else REASON_POD_FAILED


def _describe(pod: PodView, *, disrupted: bool = False) -> str:
    who = f"rank {pod.index} (pod {pod.name})"
    if disrupted and pod.disruption:
        what = f"was disrupted ({pod.disruption})"
    elif disrupted and pod.deleting:
        what = "was deleted"
    elif pod.rejected:
        what = "was rejected by its node"
    elif pod.exit_code is not None:
        what = f"exited with code {pod.exit_code}"
        who = f"{who}: {pod.failed_in}" if pod.failed_in else who
    else:
        what = "failed"
    why = ": ".join(part for part in (pod.reason, pod.message) if part)
    return f"{who} {what}" + (f" ({why})" if why else "")
