"""`spec.disruptionLimit`: how many disruptions in a row, without progress, a job survives.

A disruption spends no try, so without a bound of its own a job that is taken away whenever it
starts would start for ever. What a trainer has achieved only it knows; what counts as progress is
that every rank was ready, or done, for ten minutes without a break: time enough for a checkpoint.
It is read from the condition `PodsReady` in status, and the count is in status too, so that no
restart of the operator forgets either.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from trainingjob_api.constants import CONDITION_PODS_READY
from trainingjob_operator.core.job import JobStatus

PROGRESS: Final = timedelta(minutes=10)
"""How long every rank has to be ready for the disruptions before to be forgiven."""


def forgive(status: JobStatus, *, now: datetime) -> JobStatus:
    """Return the status with the count at 0 if every rank was ready for long enough by now.

    Asked of the status as it is before a decision: `PodsReady` becomes false, in status, no later
    than the disruption that ends an attempt is counted.
    """
    ready = status.condition(CONDITION_PODS_READY)
    if ready is None or not ready.status or now - ready.last_transition_time < PROGRESS:
        return status
    return replace(status, disruptions_since_progress=0)


def is_exhausted(status: JobStatus, limit: int) -> bool:
    """True if another disruption is one too many."""
    return status.disruptions_since_progress >= limit
