"""The plan's steps that cancel a job: its deletion and `spec.shutdown`."""

from dataclasses import replace
from typing import Final

from trainingjob_api.constants import (
    CONDITION_CANCELLED,
    ORPHAN_FINALIZER,
    REASON_DELETED,
    REASON_STOPPED,
    REASON_TERMINATED,
)
from trainingjob_operator.core.decision import Plan
from trainingjob_operator.core.job import Shutdown
from trainingjob_operator.core.plan_context import PlanContext
from trainingjob_operator.core.pod_deletion import append_stuck_pods, deletions, next_stuck_at

STOP: Final = "Stop"
TERMINATE: Final = "Terminate"

_AT_ONCE_S: Final = 1
"""Grace period of `Terminate`. Not 0: a forced deletion frees the pod's name while its processes
may still run, and then two pods of one job could run side by side."""


def when_deleted(ctx: PlanContext) -> Plan | None:
    """Stop the pods of a job that is being deleted, gracefully, and then cancel the job.

    With `--cascade=orphan` its user wants the pods to stay: they are left alone.
    """
    if not ctx.job.deleting:
        return None
    if ORPHAN_FINALIZER in ctx.job.finalizers:
        return Plan(status=ctx.status)
    return _stop(ctx, reason=REASON_DELETED, message="the job was deleted", grace_s=None)


def when_shut_down(ctx: PlanContext) -> Plan | None:
    """Stop the pods of a job that is to shut down, and then cancel the job.

    The request is latched in status when it is first seen. Removing the field later changes nothing,
    so a GitOps tool that reverts it does no harm.
    """
    latched = _latch(ctx)
    if latched is None:
        return None
    terminate = latched.mode == TERMINATE
    return _stop(
        ctx.with_status(replace(ctx.status, shutdown=latched)),
        reason=REASON_TERMINATED if terminate else REASON_STOPPED,
        message=f"spec.shutdown was set to {latched.mode}",
        grace_s=_AT_ONCE_S if terminate else None,
    )


def _latch(ctx: PlanContext) -> Shutdown | None:
    asked, latched = ctx.spec.shutdown, ctx.status.shutdown
    if latched is None and asked is not None:
        return Shutdown(mode=asked, requested_at=ctx.now, requested_by=ctx.job.shutdown_by)
    if latched is not None and asked == TERMINATE and latched.mode == STOP:
        return replace(latched, mode=TERMINATE)
    return latched


def _stop(ctx: PlanContext, *, reason: str, message: str, grace_s: int | None) -> Plan:
    """Delete all running pods; when none runs any more, cancel the job."""
    running = [pod for pod in ctx.seen.pods if not pod.is_over]
    if running:
        waiting = ctx.no_restart_pending("the job is stopping").not_ready(
            append_stuck_pods("the job is stopping", running, now=ctx.now)
        )
        return Plan(
            status=waiting.status,
            delete=deletions(running, grace_s=grace_s),
            requeue_at=next_stuck_at(running, now=ctx.now),
        )
    codes = (pod.exit_code for pod in ctx.ranks.current if pod.exit_code is not None)
    return ctx.finish(
        CONDITION_CANCELLED, reason=reason, message=message, exit_code=next(codes, None)
    )
