"""The finished jobs that leave the cluster, and when.

A job goes when it is finished, its record is stored (or none is owed), and its time to live is
over. How it ended makes no difference, unless a policy says so. The time comes from the first of
these that names one: the job's own `ttlSecondsAfterFinished`, its namespace's policy, the policy
in the operator's namespace, the settings; within a policy, the time of the outcome comes first.

What is in the way of a job that is due has a name, which is counted in the policy's
`status.skipped`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from trainingjob_api.constants import (
    CONDITION_CANCELLED,
    CONDITION_COMPLETE,
    CONDITION_FAILED,
    TERMINAL_CONDITIONS,
)
from trainingjob_operator.core.job import Condition, JobStatus, JobView, RecordState
from trainingjob_operator.core.job_stage import Stage, stage_of

KEPT: Final = "Kept"
"""Its user pinned it by annotation."""

GITOPS: Final = "GitOps"
"""Argo CD, Flux or Helm owns it, and it has no time to live of its own."""

RECORD_PENDING: Final = "RecordPending"
"""Its record is not stored yet."""

RECORD_REJECTED: Final = "RecordRejected"
"""Its record was rejected, and is not given up."""

RECORD_HELD: Final = "RecordHeld"
"""Its record is stored, and our finalizer is still on it: it goes a moment later."""

LOGS_PENDING: Final = "LogsPending"
"""Its logs are not archived yet, nor given up, which takes a minute at most."""

DELETING: Final = "Deleting"
"""It is being deleted already."""

FINISHED_AHEAD: Final = "FinishedAhead"
"""By our clock it has yet to finish: a clock was ahead, or ours is behind. Its time is to come."""

POLICY_UNKNOWN: Final = "PolicyUnknown"
"""Its namespace's policy is not known, so nothing is concluded."""

MOST_SKEW: Final = timedelta(minutes=1)
"""Finish times up to this far in the future are clock skew, and are not reported."""

_LAST: Final = datetime.max.replace(tzinfo=UTC)

BY_JOB: Final = "its own ttlSecondsAfterFinished"
BY_NAMESPACE: Final = "the RetentionPolicy of its namespace"
BY_DEFAULT: Final = "the default RetentionPolicy"
BY_SETTINGS: Final = "the operator's settings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of one RetentionPolicy; None: it inherits. All durations in seconds.

    Attributes:
        ttl_s: how long a finished job is kept.
        complete_s, failed_s, cancelled_s: the same by outcome; they win over `ttl_s`.
        successful_limit: how many Complete jobs of a namespace are kept at most.
        failed_limit: how many Failed or Cancelled ones.
        files_max_age_s: how long files stay on the log volume; the default policy's counts.
    """

    ttl_s: int | None = None
    complete_s: int | None = None
    failed_s: int | None = None
    cancelled_s: int | None = None
    successful_limit: int | None = None
    failed_limit: int | None = None
    files_max_age_s: int | None = None

    def ttl_after(self, outcome: str) -> int | None:
        """Return how long a job that ended like this is kept, as far as this policy says."""
        by_outcome = {
            CONDITION_COMPLETE: self.complete_s,
            CONDITION_FAILED: self.failed_s,
            CONDITION_CANCELLED: self.cancelled_s,
        }
        special = by_outcome.get(outcome)
        return self.ttl_s if special is None else special


NO_RULES: Final = Rules()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """All that is said of the jobs of one namespace, the nearest first.

    Attributes:
        own: the policy of the namespace; nothing, if it has none.
        default: the policy in the operator's namespace.
        settings_ttl_s: what holds when neither says anything, in seconds.
    """

    own: Rules = NO_RULES
    default: Rules = NO_RULES
    settings_ttl_s: float = 3600.0

    def ttl_after(self, outcome: str) -> tuple[float, str]:
        """Return how long a job that ended like this is kept, in seconds, and who says so."""
        if (ttl := self.own.ttl_after(outcome)) is not None:
            return ttl, BY_NAMESPACE
        if (ttl := self.default.ttl_after(outcome)) is not None:
            return ttl, BY_DEFAULT
        return self.settings_ttl_s, BY_SETTINGS

    def history_limit(self, outcome: str) -> int | None:
        """Return how many jobs that ended like this, or like its siblings, are kept; None: all."""
        if outcome == CONDITION_COMPLETE:
            own, default = self.own.successful_limit, self.default.successful_limit
        else:
            own, default = self.own.failed_limit, self.default.failed_limit
        return default if own is None else own


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The decision about one job.

    Attributes:
        expired: it is to be deleted now.
        due_at: when its time is over, or was; None: never, as things are.
        held_by: what keeps it all the same, one of the names above; "": nothing.
        rule: who says how long it is kept, for people.
        ahead: by how much it says to have finished in the future; zero: it does not, or by no more
            than clocks differ.
    """

    expired: bool = False
    due_at: datetime | None = None
    held_by: str = ""
    rule: str = ""
    ahead: timedelta = timedelta()

    def is_held(self, *, now: datetime) -> bool:
        """True if it is due and stays all the same."""
        due = self.due_at is None or self.due_at <= now
        return bool(self.held_by) and due


LIVES: Final = Verdict()
"""Not finished: whether it runs, waits or is suspended, retention has nothing to do with it."""


def judge(job: JobView, inherited: Inherited | None, *, now: datetime) -> Verdict:
    """Decide about one job.

    Args:
        job: the job.
        inherited: what is said of the jobs of its namespace; None: that is not known.
        now: the time.
    """
    outcome = terminal_condition(job.status)
    if outcome is None:
        return LIVES
    held_by = _in_the_way(job)
    ttl: float
    if job.spec.ttl_s is not None:
        ttl, rule = job.spec.ttl_s, BY_JOB
    elif inherited is None:
        return Verdict(held_by=held_by or POLICY_UNKNOWN)
    else:
        ttl, rule = inherited.ttl_after(outcome.type)
        held_by = held_by or (GITOPS if job.gitops_owner else "")
    # A clock that was ahead when the job finished only defers it: that moment is to come.
    ended_at = _finished_at(job.status, outcome)
    due_at = ended_at + min(timedelta(seconds=ttl), _LAST - ended_at)
    return Verdict(
        expired=now >= due_at and not held_by,
        due_at=due_at,
        held_by=held_by,
        rule=rule,
        ahead=ended_at - now if finishes_ahead(ended_at, now=now) else timedelta(),
    )


def finishes_ahead(ended_at: datetime, *, now: datetime) -> bool:
    """True if a job says that it finished in the future, by more than clocks differ."""
    return ended_at - now > MOST_SKEW


def counts_for_history(job: JobView) -> bool:
    """True if a job is one of those whose number a history limit bounds.

    A job that something holds, or that names its own time to live, stays beside them.
    """
    return (
        job.status.is_finished
        and job.spec.ttl_s is None
        and not job.gitops_owner
        and not _in_the_way(job)
    )


def finished_at(status: JobStatus) -> datetime | None:
    """Return when a job finished; None if it has not.

    That is its completion time, else the moment at which its terminal condition became true.
    """
    outcome = terminal_condition(status)
    return None if outcome is None else _finished_at(status, outcome)


def terminal_condition(status: JobStatus) -> Condition | None:
    """Return the one of `Complete`, `Failed` and `Cancelled` that is true, if one is."""
    return next((c for c in status.conditions if c.status and c.type in TERMINAL_CONDITIONS), None)


def _finished_at(status: JobStatus, outcome: Condition) -> datetime:
    return status.completion_time or outcome.last_transition_time


def _in_the_way(job: JobView) -> str:
    """Return what keeps a finished job in any case; "": nothing."""
    if job.deleting:
        return DELETING
    if job.keep:
        return KEPT
    stage = stage_of(job)
    if stage is Stage.LOGS:
        return LOGS_PENDING
    if stage is Stage.RECORD and job.status.record_state != RecordState.REJECTED:
        return RECORD_PENDING
    if stage is Stage.RECORD and not job.discard_record:
        return RECORD_REJECTED
    return RECORD_HELD if job.owes_record else ""
