"""The phase: one word for people, derived from the conditions, never a source of truth."""

from trainingjob_api.constants import (
    CONDITION_CANCELLED,
    CONDITION_COMPLETE,
    CONDITION_FAILED,
    CONDITION_RESTARTING,
    CONDITION_SUSPENDED,
)
from trainingjob_operator.core.job import JobStatus


def derive_phase(status: JobStatus, *, stopping: bool, all_started: bool) -> str:
    """The phase that fits these conditions.

    Args:
        status: the conditions.
        stopping: a shutdown is latched or the job is being deleted.
        all_started: every rank of the current attempt has run.
    """
    phases = (
        (status.is_true(CONDITION_COMPLETE), "Succeeded"),
        (status.is_true(CONDITION_FAILED), "Failed"),
        (status.is_true(CONDITION_CANCELLED), "Cancelled"),
        (stopping, "Stopping"),
        (status.is_true(CONDITION_SUSPENDED), "Suspended"),
        (status.is_true(CONDITION_RESTARTING), "Restarting"),
        (all_started, "Running"),
    )
    return next((phase for holds, phase in phases if holds), "Pending")
