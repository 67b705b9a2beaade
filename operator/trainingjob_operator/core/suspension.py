"""`spec.suspend`: take the pods down, keep the job; a resume is a new attempt.

A suspended job whose pods are gone and whose status says all that there is to say is settled: it
waits for its user alone. It need not be remembered until it changes.
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
    """A suspended job has no pods, its clock does not run, and what happened to its pods is forgiven.

    The attempt's number goes up before its pods go, so that a crash in between never starts an
    attempt a second time. A pod of the current attempt can also turn up later, when the operator
    died after its creation and before it wrote that down: then the number goes up once more.
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
        look_again_at=next_stuck_at(ctx.seen.pods, now=ctx.now),
    )


def resumed(ctx: PlanContext) -> PlanContext:
    """Return the same situation with `Suspended` false, if it was true."""
    if not ctx.status.is_true(CONDITION_SUSPENDED):
        return ctx
    return ctx.condition(
        CONDITION_SUSPENDED, to=False, reason=REASON_RESUMED, message="spec.suspend is false"
    )


def is_settled(job: JobView, settings: DecisionSettings) -> bool:
    """True if a suspended job has nothing left to be done, as far as the job itself says.

    What it cannot say is that a pod has turned up since its status was written.
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
        and not (job.is_to_end or status.is_finished or must_claim(job, settings))
    )


def suspended_at(job: JobView) -> datetime:
    """Return when a suspended job's status began to say so."""
    said = job.status.condition(CONDITION_SUSPENDED)
    return said.last_transition_time if said is not None else job.created_at
