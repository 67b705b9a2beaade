"""Derives Kubernetes Events from status changes: one for each relevant change of a condition."""

from collections.abc import Mapping
from typing import Final

from trainingjob_api.constants import (
    CONDITION_FAILED,
    CONDITION_FINISHED,
    CONDITION_LOGS_ARCHIVED,
    CONDITION_PERSISTED,
    CONDITION_PODS_READY,
    CONDITION_RESTARTING,
    REASON_LOGS_TRUNCATED,
    REASON_LOGS_UNAVAILABLE,
    REASON_PODS_NOT_READY,
    REASON_RECORD_DISCARDED,
    REASON_RECORD_REJECTED,
)
from trainingjob_operator.core.decision import Event
from trainingjob_operator.core.job import Condition, JobStatus

_WARNINGS: Final = frozenset({CONDITION_FAILED, CONDITION_RESTARTING})
_LOSSES: Final[Mapping[str, frozenset[str]]] = {
    CONDITION_PERSISTED: frozenset({REASON_RECORD_REJECTED, REASON_RECORD_DISCARDED}),
    CONDITION_LOGS_ARCHIVED: frozenset({REASON_LOGS_TRUNCATED, REASON_LOGS_UNAVAILABLE}),
}
_ATTEMPT_STARTED: Final = "AttemptStarted"
_STOPPING: Final = "Stopping"


def events_between(old: JobStatus, new: JobStatus) -> tuple[Event, ...]:
    """Return the Events for the change from one status of a job to the next."""
    events = []
    if new.launched_attempt is not None and new.launched_attempt != old.launched_attempt:
        message = f"all pods of attempt {new.launched_attempt} are created"
        events.append(Event(reason=_ATTEMPT_STARTED, message=message))
    if new.shutdown is not None and new.shutdown != old.shutdown:
        events.append(Event(reason=_STOPPING, message=f"shutdown: {new.shutdown.mode}"))
    events.extend(
        Event(reason=c.reason, message=c.message, warning=_is_warning(c))
        for c in new.conditions
        if _is_worth_an_event(old.condition(c.type), c)
    )
    return tuple(events)


def _is_worth_an_event(old: Condition | None, new: Condition) -> bool:
    """True if a change of a condition is worth an Event."""
    if new.type == CONDITION_FINISHED:
        return False  # repeats the terminal condition
    if new.type == CONDITION_PODS_READY:
        # Only obstacles: every job begins and ends with `PodsNotReady`.
        obstacle = not new.status and new.reason != REASON_PODS_NOT_READY
        return obstacle and (old is None or old.reason != new.reason)
    if (losses := _LOSSES.get(new.type)) is not None:
        # Only losses: records that are stored and logs that are archived are the normal case, and
        # would add an Event to every job.
        return new.reason in losses and (old is None or old.reason != new.reason)
    if new.type == CONDITION_RESTARTING and not new.status:
        return False  # the Event `AttemptStarted` covers it
    if old is None or old.status != new.status:
        return True
    return old.last_transition_time != new.last_transition_time


def _is_warning(condition: Condition) -> bool:
    if condition.type == CONDITION_LOGS_ARCHIVED:
        return not condition.status
    return condition.type in {CONDITION_PODS_READY, CONDITION_PERSISTED} or (
        condition.status and condition.type in _WARNINGS
    )
