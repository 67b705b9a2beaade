"""Restarts all ranks together as a new attempt, with exponential back-off and a limit of disruptions.

A disruption does not count towards `backoffLimit`. It has a limit of its own, `spec.disruptionLimit`:
the number of disruptions in a row, without progress, that a job survives. Otherwise a job that is
disrupted whenever it starts would restart for ever.

The operator cannot see what a trainer has achieved. Progress means that every rank was ready, or had
completed, for ten minutes without interruption: enough for a checkpoint. It is derived from the
condition `PodsReady`, and the count is in status, so both survive a restart of the operator.
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
    """Return the status for the next attempt, with no completed ranks."""
    return replace(
        status,
        attempt=status.attempt + 1,
        attempt_start_time=None,
        completed_indexes="",
        unbegun_indexes="",
    )


def begin_restart(draft: StatusDraft, *, counted: bool, reason: str, message: str) -> StatusDraft:
    """Return the draft in which this attempt has ended and the next one is pending.

    If `counted`, it counts towards `backoffLimit`; otherwise it is a disruption.
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
    """Return the draft with `Restarting` true, with the current time as its transition time.

    The transition time is reset even if another restart is still pending, so that the back-off of
    the new attempt counts from now.
    """
    others = tuple(c for c in draft.status.conditions if c.type != CONDITION_RESTARTING)
    return draft.with_fields(conditions=others).with_condition(
        CONDITION_RESTARTING, to=True, reason=reason, message=message
    )


def end_restart(draft: StatusDraft, message: str) -> StatusDraft:
    """Return the draft with `Restarting` false; unchanged if no restart was pending."""
    if not draft.status.is_true(CONDITION_RESTARTING):
        return draft
    return draft.with_condition(
        CONDITION_RESTARTING, to=False, reason=REASON_RESTARTED, message=message
    )


def pending_restart(status: JobStatus) -> Condition | None:
    """Return the condition `Restarting` if it is true; else None."""
    found = status.condition(CONDITION_RESTARTING)
    return found if found is not None and found.status else None


def pending_gang_retry(status: JobStatus) -> Condition | None:
    """Return the condition `Restarting` while a partly created gang waits for its retry; else None."""
    pending = pending_restart(status)
    return pending if pending and pending.reason == REASON_PARTLY_REFUSED else None


def may_start_at(status: JobStatus, settings: DecisionSettings) -> datetime | None:
    """Return when a pending restart may create its pods; None if none is pending.

    The back-off doubles with every restart and every disruption, so that a job whose pods are
    repeatedly disrupted does not restart without a pause. It is computed from status alone, so a
    restart of the operator neither shortens nor lengthens it.
    """
    pending = pending_restart(status)
    if pending is None:
        return None
    backoff = Backoff(settings.restart_backoff_s, settings.restart_backoff_cap_s)
    wait = backoff.wait_s(status.restarts + status.disruptions)
    return pending.last_transition_time + timedelta(seconds=wait)


PROGRESS: Final = timedelta(minutes=10)
"""Time for which every rank has to be ready before the count of disruptions is reset."""


def forgive_disruptions(status: JobStatus, *, now: datetime) -> JobStatus:
    """Return the status with the count of disruptions reset if every rank was ready for long enough.

    It has to be applied to the status before a decision: the write that counts a disruption, or an
    earlier one, sets `PodsReady` to false.
    """
    ready = status.condition(CONDITION_PODS_READY)
    if ready is None or not ready.status or now - ready.last_transition_time < PROGRESS:
        return status
    return replace(status, disruptions_since_progress=0)


def is_disruption_limit_reached(status: JobStatus, limit: int) -> bool:
    """True if one more disruption exceeds the limit."""
    return status.disruptions_since_progress >= limit
