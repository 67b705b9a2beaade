"""Handles `spec.suspend`: deletes the pods and keeps the job; a resume begins a new attempt.

A suspended job is settled when its pods are gone and its status is up to date: it waits only for its
user. It need not be in the index until it changes.
"""

from dataclasses import replace
from datetime import datetime

from trainingjob_api.constants import (
    CONDITION_SUSPENDED,
    REASON_RESUMED,
    REASON_SUSPENDED,
)
from trainingjob_operator.core.decision import DecisionSettings, Plan
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.plan_context import PlanContext
from trainingjob_operator.core.pod_deletion import append_stuck_pods, deletions, next_stuck_at
from trainingjob_operator.core.record_lifecycle import must_claim
from trainingjob_operator.core.restart import new_attempt


def when_suspended(ctx: PlanContext) -> Plan | None:
    """Delete the pods of a suspended job, and reset its start time and its disruptions in a row.

    The attempt is incremented before its pods are deleted, so that a crash in between never starts an
    attempt twice. A pod of the current attempt can also appear later, if the operator died after
    creating it and before writing the status. Then the attempt is incremented once more.
    """
    if not ctx.spec.suspend:
        return None
    status = ctx.status
    launched = status.launched_attempt == status.attempt
    if launched or ctx.ranks.current or ctx.ranks.completed or ctx.seen.vanished:
        status = new_attempt(status)
    held = (
        ctx.with_status(
            replace(status, start_time=None, attempt_start_time=None, disruptions_since_progress=0)
        )
        .no_restart_pending("the job is suspended")
        .not_ready(append_stuck_pods("the job is suspended", ctx.seen.pods, now=ctx.now))
        .condition(
            CONDITION_SUSPENDED, to=True, reason=REASON_SUSPENDED, message="spec.suspend is true"
        )
    )
    return Plan(
        status=held.status,
        delete=deletions(ctx.seen.pods),
        requeue_at=next_stuck_at(ctx.seen.pods, now=ctx.now),
    )


def resumed(ctx: PlanContext) -> PlanContext:
    """Return the context with `Suspended` false, if it was true."""
    if not ctx.status.is_true(CONDITION_SUSPENDED):
        return ctx
    return ctx.condition(
        CONDITION_SUSPENDED, to=False, reason=REASON_RESUMED, message="spec.suspend is false"
    )


def is_settled(job: JobView, settings: DecisionSettings) -> bool:
    """True if nothing is left to be done for a suspended job, judged by the job alone.

    A pod that appeared after its status was written is not noticed here.
    """
    status = job.status
    is_suspended = job.spec.suspend and status.is_true(CONDITION_SUSPENDED)
    is_answered = status.observed_generation == job.generation and job.invalid is None
    has_run_out = (
        status.active == status.terminating == 0 and status.launched_attempt != status.attempt
    )
    return (
        is_suspended
        and is_answered
        and has_run_out
        and not status.unread_logs
        and not (job.should_end or status.is_finished or must_claim(job, settings))
    )


def suspended_at(job: JobView) -> datetime:
    """Return the time since which a suspended job's status has said so."""
    said = job.status.condition(CONDITION_SUSPENDED)
    return said.last_transition_time if said is not None else job.created_at
