"""The progress of a job: its phase, and the changes of its status that are mere progress.

The phase is one word for people, derived from the conditions, and never a source of truth. Nothing
is decided from mere progress, which can wait: a thousand ranks that become ready one by one are a
few writes, not a thousand, and a pod that ends a moment after it began is one write, not two.
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


class Progress(Enum):
    """Mere progress that a status says: the less it is, the longer it can wait."""

    ALL_RUN = auto()
    """Every rank has started, or is ready, which people and programs wait for."""

    SOME_STARTED = auto()
    """The number of ranks of a starting gang that have got somewhere. Mostly the others follow soon."""

    COUNTS = auto()
    """Counts of pods."""

    DONE = auto()
    """The ranks that are done, whatever else the status says: until then that rests on their pods."""


_COUNTERS: Final = frozenset({"active", "ready", "succeeded", "failed", "terminating"})
# Where a log stands is written with whatever else is: nothing is decided from its size.
_MAY_WAIT: Final = _COUNTERS | {"phase", "conditions", "completed_indexes", "log_bytes"}
_PENDING: Final = "Pending"
_GETS_GOING: Final = (_PENDING, "Running")


def progress_between(
    old: JobStatus, new: JobStatus, pods: Iterable[PodView] = ()
) -> Progress | None:
    """Return the progress that is all that is new in a status; None: there is more.

    Progress is counters, that every rank runs by now, which is the first that does not, and
    which ranks are done while their pods are there to say so, too. More than that is what is in the way of
    a rank, and everything that a decision rests on and that no pod says (attempts, terminal conditions).

    Args:
        old: the status as it is.
        new: the status as it is to be.
        pods: those that the job has.
    """
    changed = changed_fields(old, new)
    may_wait = (
        changed <= _MAY_WAIT
        and ("phase" not in changed or (old.phase, new.phase) == _GETS_GOING)
        and all(_can_wait(old.condition(c.type), c) for c in new.conditions)
        and ("completed_indexes" not in changed or _are_kept(old, new, pods))
        and not (changed & _COUNTERS and _may_be_edited(new))
    )
    if not may_wait:
        return None
    if "completed_indexes" in changed:
        return Progress.DONE
    if "phase" in changed or _has_become_ready(old, new):
        return Progress.ALL_RUN
    return Progress.SOME_STARTED if new.phase == _PENDING else Progress.COUNTS


def _are_kept(old: JobStatus, new: JobStatus, pods: Iterable[PodView]) -> bool:
    """True if the pods of all ranks that have become done are there, and nothing removes them.

    They say that their ranks are done, to the next operator as well. When one goes, status has to.
    """
    before, after = parse_indexes(old.completed_indexes), parse_indexes(new.completed_indexes)
    kept = {
        pod.index
        for pod in pods
        if pod.attempt == new.attempt and pod.has_completed and not pod.deleting
    }
    return before <= after and after - before <= kept


def _may_be_edited(new: JobStatus) -> bool:
    """True if the last pod of a suspended job has gone: its template can be changed from now on."""
    return new.is_true(CONDITION_SUSPENDED) and new.active == new.terminating == 0


def _has_become_ready(old: JobStatus, new: JobStatus) -> bool:
    return new.is_true(CONDITION_PODS_READY) and not old.is_true(CONDITION_PODS_READY)


def _can_wait(old: Condition | None, new: Condition) -> bool:
    """True if a condition is as it was, says that all ranks run, or only which rank is next."""
    if new == old:
        return True
    if new.type != CONDITION_PODS_READY:
        return False
    return new.status or (old is not None and old.reason == new.reason == REASON_PODS_NOT_READY)
