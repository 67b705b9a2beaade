"""Derives a job's phase, and finds status changes that are mere progress and can be throttled.

The phase is one word for people, derived from the conditions, and never a source of truth. No
decision depends on mere progress, so its write can be delayed. A thousand ranks that become ready one
by one cause a few writes, not a thousand; a pod that ends just after its start causes one, not two.
"""

from collections.abc import Iterable
from enum import Enum, auto
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
from trainingjob_operator.core.naming import parse_indexes
from trainingjob_operator.core.pod import PodView


def derive_phase(status: JobStatus, *, stopping: bool, all_started: bool) -> str:
    """Return the phase that follows from the conditions.

    Args:
        status: the status with the conditions.
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


class Progress(Enum):
    """Kinds of mere progress in a status change; less important ones can wait longer."""

    ALL_RUN = auto()
    """Every rank has started or is ready, which people and programs wait for."""

    SOME_STARTED = auto()
    """Counts of pods while a gang starts: mostly the other ranks follow soon."""

    COUNTS = auto()
    """Counts of pods."""

    DONE = auto()
    """Ranks have completed, perhaps beside other changes. Until the write only their pods show it."""


_COUNTERS: Final = frozenset({"active", "ready", "succeeded", "failed", "terminating"})
# The size of the logs is written together with other changes: no decision depends on it.
_MAY_WAIT: Final = _COUNTERS | {"phase", "conditions", "completed_indexes", "log_bytes"}
_PENDING: Final = "Pending"
_GETS_GOING: Final = (_PENDING, "Running")


def progress_between(
    old: JobStatus, new: JobStatus, pods: Iterable[PodView] = ()
) -> Progress | None:
    """Return the kind of progress if a status change is nothing else; None if it is more.

    Mere progress is: counters, all ranks running, a different first rank that is not ready, and
    completed ranks as long as their pods exist and show the same. Everything else is more: obstacles
    of a rank, and whatever decisions depend on and no pod shows (attempts, terminal conditions).

    Args:
        old: the current status.
        new: the status to write.
        pods: the job's pods.
    """
    changed = changed_fields(old, new)
    may_wait = (
        changed <= _MAY_WAIT
        and ("phase" not in changed or (old.phase, new.phase) == _GETS_GOING)
        and all(_can_wait(old.condition(c.type), c) for c in new.conditions)
        and ("completed_indexes" not in changed or _pods_still_show(old, new, pods))
        and not (changed & _COUNTERS and _can_be_edited(new))
    )
    if not may_wait:
        return None
    if "completed_indexes" in changed:
        return Progress.DONE
    if "phase" in changed or _has_become_ready(old, new):
        return Progress.ALL_RUN
    return Progress.SOME_STARTED if new.phase == _PENDING else Progress.COUNTS


def _pods_still_show(old: JobStatus, new: JobStatus, pods: Iterable[PodView]) -> bool:
    """True if the pods of all newly completed ranks exist and are not being deleted.

    As long as they exist, a restarted operator sees from them that the ranks have completed.
    Before they are deleted, it must be in status.
    """
    before, after = parse_indexes(old.completed_indexes), parse_indexes(new.completed_indexes)
    kept = {
        pod.index
        for pod in pods
        if pod.attempt == new.attempt and pod.has_completed and not pod.deleting
    }
    return before <= after and after - before <= kept


def _can_be_edited(new: JobStatus) -> bool:
    """True if a suspended job has no pods left, so that its template can be changed from now on."""
    return new.is_true(CONDITION_SUSPENDED) and new.active == new.terminating == 0


def _has_become_ready(old: JobStatus, new: JobStatus) -> bool:
    return new.is_true(CONDITION_PODS_READY) and not old.is_true(CONDITION_PODS_READY)


def _can_wait(old: Condition | None, new: Condition) -> bool:
    """True if a condition is unchanged, or only `PodsReady` became true or names another rank."""
    if new == old:
        return True
    if new.type != CONDITION_PODS_READY:
        return False
    return new.status or (old is not None and old.reason == new.reason == REASON_PODS_NOT_READY)
