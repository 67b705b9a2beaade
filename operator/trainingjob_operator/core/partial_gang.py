"""A gang that is refused in part: what it got it gives back, and comes back for all of it.

Two gangs that each hold a part of a quota would wait for each other for ever. So one that holds a
part for a while asks a last time, and then deletes its pods, which spends no try. It comes back
after a wait. How long either lasts is by age and chance: the older of two holds on longer and waits
less, and two of one age part after a few times. Both follow from status and the job alone, so that
a restart of the operator changes neither.
"""

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from trainingjob_api.constants import (
    CONDITION_PODS_READY,
    REASON_PARTLY_REFUSED,
)
from trainingjob_operator.core.backoff import Backoff
from trainingjob_operator.core.decision import DecisionSettings, Plan, Refusal
from trainingjob_operator.core.job import JobStatus, JobView
from trainingjob_operator.core.naming import format_indexes
from trainingjob_operator.core.plan_context import PlanContext
from trainingjob_operator.core.pod_deletion import deletions
from trainingjob_operator.core.restart import announce_restart, new_attempt, pending_gang_retry

_LONGEST: Final = 4
"""So many times the first wait is the longest, but for age and chance."""

_SHORTEST: Final = 0.25


def when_partly_refused(ctx: PlanContext) -> Plan | None:
    """Give back what the attempt has, if it was refused the rest when it had held on long enough.

    A rank that is done has used what it had, and others may do so as well: then it is kept.
    """
    refusal = ctx.seen.refusal
    if refusal is None or not ctx.ranks.missing or ctx.ranks.completed:
        return None
    ends = partial_hold_deadline(refusal, ctx.job, ctx.settings)
    if ends is None or refusal.refused_at < ends:
        return None
    holding = format_indexes(pod.index for pod in ctx.ranks.current)
    why = f"{refusal.message}; ranks {holding} gave back what they had, and all start again later"
    status = _begin_return(ctx, why)
    given = ctx.with_status(status).condition(
        CONDITION_PODS_READY, to=False, reason=refusal.reason, message=why
    )
    return Plan(status=given.status, delete=deletions(ctx.seen.pods))


def partial_hold_deadline(
    refusal: Refusal, job: JobView, settings: DecisionSettings
) -> datetime | None:
    """Return when a gang that was refused in part asks a last time; None if it keeps what it has."""
    since = refusal.partly_since
    if since is None or settings.partial_hold_s <= 0:
        return None
    share = 2 - _youth(job, since, settings) + _chance(job, job.status.attempt)
    return since + timedelta(seconds=settings.partial_hold_s * share)


def gang_retry_at(job: JobView, status: JobStatus, settings: DecisionSettings) -> datetime | None:
    """Return when a gang that gave back what it had may start again; None if it did not."""
    pending = pending_gang_retry(status)
    if pending is None:
        return None
    return pending.last_transition_time + timedelta(
        seconds=_wait_s(job, status, pending.last_transition_time, settings)
    )


def begin_gang_retry(ctx: PlanContext) -> PlanContext:
    """Return the situation in which a gang may start again that gave back what it had, if one did.

    Its clock stood still until now: however long its old pods took to go, and the operator to look,
    is no time in which it could start. That nothing is pending any more says that this is done.
    """
    due = gang_retry_at(ctx.job, ctx.status, ctx.settings)
    if due is None:
        return ctx
    start = ctx.status.attempt_start_time
    if start is not None:
        ctx = ctx.with_status(replace(ctx.status, attempt_start_time=start + (ctx.now - due)))
    return ctx.no_restart_pending(f"attempt {ctx.status.attempt} may start")


def _begin_return(ctx: PlanContext, why: str) -> JobStatus:
    """Record that this attempt is over, which counts as nothing, and that the next one is due.

    What the attempt has used of its pre-running deadline stays used: the wait is put in between, and
    what it has to wait beyond that when it comes back.
    """
    draft = ctx.with_status(new_attempt(ctx.status)).draft
    given = announce_restart(draft, reason=REASON_PARTLY_REFUSED, message=why).status
    start = ctx.status.attempt_start_time
    if start is None:
        return given
    wait = timedelta(seconds=_wait_s(ctx.job, given, ctx.now, ctx.settings))
    return replace(given, attempt_start_time=start + wait)


def _wait_s(
    job: JobView, status: JobStatus, given_back_at: datetime, settings: DecisionSettings
) -> float:
    """Return for how many seconds a gang stays away that gave back what it had at that moment."""
    times = max(status.attempt - status.restarts - status.disruptions, 1)
    base = Backoff(settings.partial_hold_s, settings.partial_hold_s * _LONGEST).wait_s(times)
    return base * (_SHORTEST + _youth(job, given_back_at, settings) + _chance(job, status.attempt))


def _youth(job: JobView, at: datetime, settings: DecisionSettings) -> float:
    """Return 1 for a job that was just created, and less the older it is."""
    age_s = max((at - job.created_at).total_seconds(), 0.0)
    return settings.partial_hold_s / (settings.partial_hold_s + age_s) if age_s else 1.0


def _chance(job: JobView, attempt: int) -> float:
    """Return a number from 0 to 1 that is another one for each job and attempt."""
    digest = hashlib.sha256(f"{job.uid}/{attempt}".encode()).digest()
    return int.from_bytes(digest[:4]) / 2**32
