"""Restarting: all ranks as one, each start a new attempt, with a growing wait in between.

A disruption spends no try, so it has a bound of its own, `spec.disruptionLimit`: so many in a row,
without progress, a job survives. Else a job that is taken away whenever it starts would start for
ever. What a trainer has achieved only it knows; what counts as progress is that every rank was
ready, or done, for ten minutes without a break: time enough for a checkpoint. It is read from the
condition `PodsReady` in status, and the count is in status too, so that no restart of the operator
forgets either.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from trainingjob_api.constants import (
    CONDITION_PODS_READY,
    CONDITION_RESTARTING,
    REASON_PARTLY_REFUSED,
    REASON_RESTARTED,
)
from trainingjob_operator.core.backoff import Backoff
from trainingjob_operator.core.decision import DecisionSettings
from trainingjob_operator.core.job import Condition, JobStatus
from trainingjob_operator.core.status_draft import StatusDraft


def new_attempt(status: JobStatus) -> JobStatus:
    """Return the status under which the next attempt will start, no rank of it done."""
    return replace(
        status,
        attempt=status.attempt + 1,
        attempt_start_time=None,
        completed_indexes="",
        unbegun_indexes="",
    )


def begin_restart(draft: StatusDraft, *, counted: bool, reason: str, message: str) -> StatusDraft:
    """Record that this attempt is over and the next one is due.

    If it is `counted` it spends one of `backoffLimit`; otherwise it is a disruption.
    """
    status = draft.status
    status = replace(
        new_attempt(status),
        restarts=status.restarts + counted,
        disruptions=status.disruptions + (not counted),
        disruptions_since_progress=status.disruptions_since_progress + (not counted),
    )
    return announce_restart(replace(draft, status=status), reason=reason, message=message)


def announce_restart(draft: StatusDraft, *, reason: str, message: str) -> StatusDraft:
    """Return the draft with `Restarting` true from now on.

    A restart while the last one still waits is a flip to false and back in one write: the wait of
    the new attempt counts from now.
    """
    others = tuple(c for c in draft.status.conditions if c.type != CONDITION_RESTARTING)
    return draft.with_fields(conditions=others).with_condition(
        CONDITION_RESTARTING, to=True, reason=reason, message=message
    )


def end_restart(draft: StatusDraft, message: str) -> StatusDraft:
    """Record that no restart is pending any more; no change if none was."""
    if not draft.status.is_true(CONDITION_RESTARTING):
        return draft
    return draft.with_condition(
        CONDITION_RESTARTING, to=False, reason=REASON_RESTARTED, message=message
    )


def pending_restart(status: JobStatus) -> Condition | None:
    """Return the condition `Restarting` while it is true; else None."""
    found = status.condition(CONDITION_RESTARTING)
    return found if found is not None and found.status else None


def pending_gang_retry(status: JobStatus) -> Condition | None:
    """Return it while a gang that gave back what it had is away; else None."""
    pending = pending_restart(status)
    return pending if pending and pending.reason == REASON_PARTLY_REFUSED else None


def may_start_at(status: JobStatus, settings: DecisionSettings) -> datetime | None:
    """Return when a pending restart may start its pods; None if none is pending.

    The wait doubles with every restart and every disruption, so that a job whose pods are taken
    away as fast as they come does not restart without a pause. It is computed from status alone: a restart of the
    operator neither shortens nor lengthens it.
    """
    pending = pending_restart(status)
    if pending is None:
        return None
    backoff = Backoff(settings.restart_backoff_s, settings.restart_backoff_cap_s)
    wait = backoff.wait_s(status.restarts + status.disruptions)
    return pending.last_transition_time + timedelta(seconds=wait)


PROGRESS: Final = timedelta(minutes=10)
"""Every rank has to be ready for so long for earlier disruptions to be forgiven."""


def forgive_disruptions(status: JobStatus, *, now: datetime) -> JobStatus:
    """Return the status with the count at 0 if every rank was ready for long enough by now.

    Asked of the status as it is before a decision: `PodsReady` becomes false, in status, no later
    than the disruption that ends an attempt is counted.
    """
    ready = status.condition(CONDITION_PODS_READY)
    if ready is None or not ready.status or now - ready.last_transition_time < PROGRESS:
        return status
    return replace(status, disruptions_since_progress=0)


def is_disruption_limit_reached(status: JobStatus, limit: int) -> bool:
    """True if another disruption is one too many."""
    return status.disruptions_since_progress >= limit
