"""The decision about one job: its new status, the pods to create and the pods to delete.

A pure function. Each step is one policy in a file of its own. The steps run in order, and the first
that returns a plan decides. The order matters:

1. a finished job stays finished;
2. success comes next, because it means: finished before it was asked to stop;
3. a request to end the job (deletion, shutdown) comes before anything that happens to its pods;
4. a failure is counted before a suspension deletes the failed pods;
5. a suspension comes before disruptions: the pods that it deletes do not count as lost;
6. a lost rank comes before the deadlines: it looks like one that has never run;
7. the deadlines come before waiting for the end of a disrupted pod, and before deleting a partly
   created gang, which begins another attempt.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from trainingjob_api.constants import GROUP
from trainingjob_operator.core.archiving import archive_first
from trainingjob_operator.core.attempt import run_attempt
from trainingjob_operator.core.cancellation import when_deleted, when_shut_down
from trainingjob_operator.core.deadlines import active_deadline, pre_running_deadline
from trainingjob_operator.core.decision import DecisionSettings, Observation, Plan
from trainingjob_operator.core.fast_replace import replace_fields
from trainingjob_operator.core.job import JobStatus, JobView, RecordState
from trainingjob_operator.core.naming import format_indexes
from trainingjob_operator.core.outcome import (
    when_complete,
    when_disrupted,
    when_failed,
    when_invalid,
    when_overdue,
    when_refused,
    while_ending,
)
from trainingjob_operator.core.partial_gang import when_partly_refused
from trainingjob_operator.core.plan_context import PlanContext
from trainingjob_operator.core.pod_deletion import pods_to_clean
from trainingjob_operator.core.progress import derive_phase
from trainingjob_operator.core.ranks import sort_ranks
from trainingjob_operator.core.record_lifecycle import (
    may_release,
    must_claim,
    must_reclaim,
    release_deadline,
    settle_record,
)
from trainingjob_operator.core.refusals import applicable_refusal
from trainingjob_operator.core.restart import forgive_disruptions
from trainingjob_operator.core.suspension import when_suspended
from trainingjob_operator.core.transitions import events_between

MANAGER: Final = f"{GROUP}/trainingjob-operator"
"""The value of `spec.managedBy` that names this operator; an absent field means the same."""


def plan(seen: Observation, settings: DecisionSettings, *, now: datetime) -> Plan:
    """Decide about one job.

    Deterministic and without side effects. If a plan is applied and the pods do not change, the next
    plan has the same status, nothing to create and nothing to delete.
    """
    job = seen.job
    if not is_ours(job):
        return Plan(status=job.status)
    seen = replace_fields(
        seen,
        pods=tuple(pod for pod in seen.pods if pod.owner_uid == job.uid),
        refusal=applicable_refusal(seen.refusal, job, now=now),
    )
    ranks = sort_ranks(seen)
    done = replace_fields(job.status, completed_indexes=format_indexes(ranks.completed))
    done = forgive_disruptions(done, now=now)
    situation = PlanContext(seen=seen, ranks=ranks, status=done, settings=settings, now=now)
    decided = next(
        (answer for step in _STEPS if (answer := step(situation)) is not None), None
    ) or run_attempt(situation)
    if decided.needs_live_pods:
        return decided
    decided = replace_fields(decided, status=_summarise(decided.status, situation))
    decided = archive_first(decided, seen, settings, now=now)
    if decided.needs_live_pods:
        return decided
    status = decided.status
    release = may_release(status, job, settings, now=now)
    return replace_fields(
        decided,
        claim=must_claim(job, settings) or must_reclaim(job, status),
        release=release,
        abandon=release and status.record_pending,
        events=events_between(job.status, status),
        requeue_at=_requeue_at(decided, status, situation),
    )


def is_ours(job: JobView) -> bool:
    """True if this operator manages the job, by `spec.managedBy`."""
    return job.spec.managed_by in {None, MANAGER}


def _when_finished(ctx: PlanContext) -> Plan | None:
    if not ctx.status.is_finished:
        return None
    # Later changes of its pods do not change the outcome.
    status = replace_fields(ctx.status, completed_indexes=ctx.job.status.completed_indexes)
    status = settle_record(ctx.with_status(status).draft, ctx.seen).status
    return Plan(
        status=status, delete=pods_to_clean(status, ctx.spec.clean_pod_policy, ctx.seen.pods)
    )


_STEPS: Final[tuple[Callable[[PlanContext], Plan | None], ...]] = (
    _when_finished,
    when_invalid,
    when_complete,
    when_deleted,
    when_shut_down,
    when_failed,
    when_refused,
    when_suspended,
    when_disrupted,
    when_overdue,
    while_ending,
    when_partly_refused,
)


def _summarise(status: JobStatus, ctx: PlanContext) -> JobStatus:
    """Count the pods and derive the phase.

    A finished job keeps its numbers of succeeded and failed ranks when its pods are deleted.
    """
    running = [pod for pod in ctx.seen.pods if not pod.is_over]
    ready, succeeded, failed = len(ctx.ranks.ready), status.succeeded, status.failed
    if not ctx.job.status.is_finished:
        completed = ctx.ranks.completed
        succeeded = len(completed)
        failed = sum(p.has_failed and p.index not in completed for p in ctx.ranks.current)
    started = ctx.ranks.all_started
    if status.attempt != ctx.job.status.attempt:  # the next attempt has no pods yet
        ready, succeeded, failed, started = 0, 0, 0, False
    stopping = status.shutdown is not None or ctx.job.deleting
    return replace_fields(
        status,
        phase=derive_phase(status, stopping=stopping, all_started=started),
        observed_generation=ctx.job.generation,
        active=sum(not pod.deleting for pod in running),
        terminating=sum(pod.deleting for pod in running),
        ready=ready,
        succeeded=succeeded,
        failed=failed,
    )


def _requeue_at(decided: Plan, status: JobStatus, ctx: PlanContext) -> datetime | None:
    """Return the next time at which the decision changes without any event."""
    if status.is_finished:
        is_pending = status.record_state == RecordState.PENDING
        held = ctx.job.deleting and ctx.job.has_record_finalizer and is_pending
        return release_deadline(ctx.job, ctx.settings) if held else None
    due = [decided.requeue_at]
    if status.attempt != ctx.job.status.attempt and all(pod.held_by for pod in ctx.seen.pods):
        due.append(ctx.now)  # no pod of the old attempt is left whose end would cause a pass
    # Suspension, shutdown and deletion come before the deadlines. An expired deadline that no longer
    # applies would cause passes without end.
    if not (ctx.spec.suspend or ctx.job.should_end):
        due.append(active_deadline(ctx.job, status))
        due.append(pre_running_deadline(ctx.job, status, ctx.ranks))
    return min((moment for moment in due if moment is not None), default=None)
