"""Restarting: all ranks as one, each start a new attempt, with a growing wait in between."""

from dataclasses import replace
from datetime import datetime, timedelta

from trainingjob_operator.constants import (
    CONDITION_RESTARTING,
    REASON_RESTARTED,
)
from trainingjob_operator.core.conditions import set_condition
from trainingjob_operator.core.decision import Policy
from trainingjob_operator.core.job import JobStatus


def new_attempt(status: JobStatus) -> JobStatus:
    """The status under which the next attempt will start, no rank of it done."""
    return replace(
        status, attempt=status.attempt + 1, attempt_start_time=None, completed_indexes=""
    )


def begin_restart(
    status: JobStatus, *, counted: bool, reason: str, message: str, now: datetime, generation: int
) -> JobStatus:
    """Record that this attempt is over and the next one is due.

    If it is `counted` it spends one of `backoffLimit`; otherwise it is a disruption.
    """
    status = replace(
        new_attempt(status),
        restarts=status.restarts + counted,
        disruptions=status.disruptions + (not counted),
        disruptions_since_progress=status.disruptions_since_progress + (not counted),
        # A restart while the last one still waits is a flip to false and back in one write: the
        # wait and the deadline of the new attempt count from now.
        conditions=tuple(c for c in status.conditions if c.type != CONDITION_RESTARTING),
    )
    return set_condition(
        status,
        CONDITION_RESTARTING,
        to=True,
        reason=reason,
        message=message,
        now=now,
        generation=generation,
    )


def end_restart(status: JobStatus, *, message: str, now: datetime, generation: int) -> JobStatus:
    """Record that no restart is pending any more; no change if none was."""
    if not status.is_true(CONDITION_RESTARTING):
        return status
    return set_condition(
        status,
        CONDITION_RESTARTING,
        to=False,
        reason=REASON_RESTARTED,
        message=message,
        now=now,
        generation=generation,
    )


def may_start_at(status: JobStatus, policy: Policy) -> datetime | None:
    """When a pending restart may start its pods; None if none is pending.

    The wait doubles with every restart and every disruption, so that a job whose pods are taken
    away as fast as they come is no hot loop. It is computed from status alone: a restart of the
    operator neither shortens nor lengthens it.
    """
    pending = status.condition(CONDITION_RESTARTING)
    if pending is None or not pending.status:
        return None
    again = max(status.restarts + status.disruptions - 1, 0)
    wait = min(policy.restart_backoff_cap_s, policy.restart_backoff_s * 2 ** min(again, 32))
    return pending.last_transition_time + timedelta(seconds=wait)
