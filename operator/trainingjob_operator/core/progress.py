"""The progress of a job: its phase, and the changes of its status that are mere progress.

The phase is one word for people, derived from the conditions, and never a source of truth. Nothing
is decided from mere progress, which can wait: a thousand ranks that become ready one by one are a
few writes, not a thousand, and a pod that ends a moment after it began is one write, not two.
"""

from typing import Final

from trainingjob_api.constants import (
    CONDITION_CANCELLED,
    CONDITION_COMPLETE,
    CONDITION_FAILED,
    CONDITION_PODS_READY,
    CONDITION_RESTARTING,
    CONDITION_SUSPENDED,
    REASON_PODS_NOT_READY,
)
from trainingjob_operator.core.job import Condition, JobStatus, changed_fields


def derive_phase(status: JobStatus, *, stopping: bool, all_started: bool) -> str:
    """Return the phase that fits these conditions.

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


_COUNTERS: Final = frozenset({"active", "ready", "succeeded", "failed", "terminating"})
_GETS_GOING: Final = ("Pending", "Running")


def is_mere_progress(old: JobStatus, new: JobStatus) -> bool:
    """True if a status says nothing new but how far the pods have come.

    That is counters, that every rank runs by now, and which is the first that does not. What is in
    the way of a rank, and everything that a decision rests on (attempts, completed ranks, terminal
    conditions), is more than that.
    """
    changed = changed_fields(old, new)
    return (
        changed <= _COUNTERS | {"phase", "conditions"}
        and ("phase" not in changed or (old.phase, new.phase) == _GETS_GOING)
        and all(_can_wait(old.condition(c.type), c) for c in new.conditions)
    )


def _can_wait(old: Condition | None, new: Condition) -> bool:
    """True if a condition is as it was, says that all ranks run, or only which rank is next."""
    if new == old:
        return True
    if new.type != CONDITION_PODS_READY:
        return False
    return new.status or (old is not None and old.reason == new.reason == REASON_PODS_NOT_READY)
