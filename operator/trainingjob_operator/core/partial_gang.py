"""Deletes the pods of a gang that was only partly created, and retries the whole gang later.

Two gangs that each hold a part of a quota would block each other for ever. So a gang that was partly
refused keeps its pods for a limited time (the hold), tries once more, and then deletes its pods. This
does not count towards `backoffLimit`. It is retried after a wait.

The hold and the wait depend on the job's age and on a pseudo-random number: of two gangs the older
one holds longer and waits less, and two of the same age diverge after a few retries. Both are
computed from the job and its status alone, so a restart of the operator changes neither.
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

_LONGEST_WAIT: Final = 4
"""The longest wait as a multiple of the first one, apart from the factor for the job's age and chance."""

_SHORTEST_WAIT: Final = 0.25


def when_partly_refused(ctx: PlanContext) -> Plan | None:
    """Delete the pods of a partly created attempt if it was refused again after its hold.

    An attempt in which a rank has completed is kept: it makes progress, and others may complete, too.
    """
    refusal = ctx.seen.refusal
    if refusal is None or not ctx.ranks.missing or ctx.ranks.completed:
        return None
    ends = partial_hold_deadline(refusal, ctx.job, ctx.settings)
    if ends is None or refusal.refused_at < ends:
        return None
    holding = format_indexes(pod.index for pod in ctx.ranks.current)
    why = f"{refusal.message}; the pods of ranks {holding} are deleted, and all are retried later"
    status = _end_attempt(ctx, why)
    announced = ctx.with_status(status).condition(
        CONDITION_PODS_READY, to=False, reason=refusal.reason, message=why
    )
    return Plan(status=announced.status, delete=deletions(ctx.seen.pods))


def partial_hold_deadline(
    refusal: Refusal, job: JobView, settings: DecisionSettings
) -> datetime | None:
    """Return the end of the hold, at which the gang tries once more; None if it keeps its pods."""
    since = refusal.partly_since
    if since is None or settings.partial_hold_s <= 0:
        return None
    share = 2 - _youth(job, since, settings) + _random_share(job, job.status.attempt)
    return since + timedelta(seconds=settings.partial_hold_s * share)


def gang_retry_at(job: JobView, status: JobStatus, settings: DecisionSettings) -> datetime | None:
    """Return the time at which a gang whose pods were deleted may be retried; None without one."""
    pending = pending_gang_retry(status)
    if pending is None:
        return None
    return pending.last_transition_time + timedelta(
        seconds=_wait_s(job, status, pending.last_transition_time, settings)
    )


def begin_gang_retry(ctx: PlanContext) -> PlanContext:
    """Return the context in which a gang whose wait is over may start again; unchanged without one.

    The pre-running deadline was paused until now: the gang could not start while its old pods were
    terminating, or before the operator made this pass. `Restarting` becomes false, so that the
    deadline is shifted only once.
    """
    due = gang_retry_at(ctx.job, ctx.status, ctx.settings)
    if due is None:
        return ctx
    start = ctx.status.attempt_start_time
    if start is not None:
        ctx = ctx.with_status(replace(ctx.status, attempt_start_time=start + (ctx.now - due)))
    return ctx.no_restart_pending(f"attempt {ctx.status.attempt} may start")


def _end_attempt(ctx: PlanContext, why: str) -> JobStatus:
    """Return the status that ends this attempt, without counting it, and announces the next one.

    The time that the attempt has used of its pre-running deadline stays used. The wait is added to
    `attemptStartTime` here, and any further delay is added by `begin_gang_retry`.
    """
    draft = ctx.with_status(new_attempt(ctx.status)).draft
    announced = announce_restart(draft, reason=REASON_PARTLY_REFUSED, message=why).status
    start = ctx.status.attempt_start_time
    if start is None:
        return announced
    wait = timedelta(seconds=_wait_s(ctx.job, announced, ctx.now, ctx.settings))
    return replace(announced, attempt_start_time=start + wait)


def _wait_s(
    job: JobView, status: JobStatus, deleted_at: datetime, settings: DecisionSettings
) -> float:
    """Return the seconds from the deletion of a gang's pods to its retry."""
    times = max(status.attempt - status.restarts - status.disruptions, 1)
    base = Backoff(settings.partial_hold_s, settings.partial_hold_s * _LONGEST_WAIT).wait_s(times)
    return base * (
        _SHORTEST_WAIT + _youth(job, deleted_at, settings) + _random_share(job, status.attempt)
    )


def _youth(job: JobView, at: datetime, settings: DecisionSettings) -> float:
    """Return 1 for a job that was just created, and less for an older one."""
    age_s = max((at - job.created_at).total_seconds(), 0.0)
    return settings.partial_hold_s / (settings.partial_hold_s + age_s) if age_s else 1.0


def _random_share(job: JobView, attempt: int) -> float:
    """Return a pseudo-random number from 0 to 1, derived from the job and the attempt."""
    digest = hashlib.sha256(f"{job.uid}/{attempt}".encode()).digest()
    return int.from_bytes(digest[:4]) / 2**32
