"""Decides which finished jobs are deleted, and when, by their TTL.

A job is deleted when it has finished, its record is stored (or none is required), and its TTL has
expired. Its outcome makes no difference unless a policy says so. The TTL comes from the first of
these that sets one: the job's own `ttlSecondsAfterFinished`, the policy of its namespace, the policy
in the operator's namespace, the settings. Within a policy, a TTL by outcome takes precedence.

If an expired job cannot be deleted, the reason is counted in the policy's `status.skipped`.
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
"""Its record was rejected and has not been given up."""

RECORD_HELD: Final = "RecordHeld"
"""Its record is stored, but our finalizer has not been removed yet; that follows in a moment."""

LOGS_PENDING: Final = "LogsPending"
"""Its logs are neither archived nor given up yet, which takes a bounded time."""

DELETING: Final = "Deleting"
"""It is being deleted already."""

FINISHED_AHEAD: Final = "FinishedAhead"
"""Its finish time is in the future: another clock was ahead, or ours is behind."""

POLICY_UNKNOWN: Final = "PolicyUnknown"
"""The policy of its namespace is not known yet, so no TTL can be derived."""

MOST_SKEW: Final = timedelta(minutes=1)
"""Finish times up to this far in the future are clock skew, and are not reported."""

_LAST: Final = datetime.max.replace(tzinfo=UTC)

BY_JOB: Final = "its own ttlSecondsAfterFinished"
BY_NAMESPACE: Final = "the RetentionPolicy of its namespace"
BY_DEFAULT: Final = "the default RetentionPolicy"
BY_SETTINGS: Final = "the operator's settings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of one RetentionPolicy. None means inherited; all durations in seconds.

    Attributes:
        ttl_s: TTL of finished jobs.
        complete_s, failed_s, cancelled_s: TTL by outcome, which takes precedence over `ttl_s`.
        successful_limit: maximum number of Complete jobs kept in a namespace.
        failed_limit: maximum number of Failed or Cancelled jobs kept in a namespace.
        files_max_age_s: TTL of files on the log volume; only the default policy's is used.
    """

    ttl_s: int | None = None
    complete_s: int | None = None
    failed_s: int | None = None
    cancelled_s: int | None = None
    successful_limit: int | None = None
    failed_limit: int | None = None
    files_max_age_s: int | None = None

    def ttl_after(self, outcome: str) -> int | None:
        """Return the TTL of a job with this outcome; None if this policy does not set one."""
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
    """The retention rules that apply to one namespace, in order of precedence.

    Attributes:
        own: the namespace's own policy; without rules if it has none.
        default: the policy in the operator's namespace.
        settings_ttl_s: the TTL from the settings, if neither policy sets one, in seconds.
    """

    own: Rules = NO_RULES
    default: Rules = NO_RULES
    settings_ttl_s: float = 3600.0

    def ttl_after(self, outcome: str) -> tuple[float, str]:
        """Return the TTL of a job with this outcome, in seconds, and a description of its source."""
        if (ttl := self.own.ttl_after(outcome)) is not None:
            return ttl, BY_NAMESPACE
        if (ttl := self.default.ttl_after(outcome)) is not None:
            return ttl, BY_DEFAULT
        return self.settings_ttl_s, BY_SETTINGS

    def history_limit(self, outcome: str) -> int | None:
        """Return the history limit of this outcome; None: no limit. Failed and Cancelled share one."""
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
        due_at: time at which its TTL expires or expired; None: never, for now.
        held_by: reason why it is kept nevertheless, one of the constants above; "": none.
        rule: description of the source of its TTL, for people.
        ahead: how far its finish time is in the future; zero if it is not, or within `MOST_SKEW`.
    """

    expired: bool = False
    due_at: datetime | None = None
    held_by: str = ""
    rule: str = ""
    ahead: timedelta = timedelta()

    def is_held(self, *, now: datetime) -> bool:
        """True if its TTL has expired but it is kept."""
        due = self.due_at is None or self.due_at <= now
        return bool(self.held_by) and due


NOT_FINISHED: Final = Verdict()
"""The verdict on a job that has not finished: retention does not apply to it."""


def judge(job: JobView, inherited: Inherited | None, *, now: datetime) -> Verdict:
    """Decide about one job.

    Args:
        job: the job.
        inherited: the rules that apply to its namespace; None: not known yet.
        now: the current time.
    """
    outcome = terminal_condition(job.status)
    if outcome is None:
        return NOT_FINISHED
    held_by = _in_the_way(job)
    ttl: float
    if job.spec.ttl_s is not None:
        ttl, rule = job.spec.ttl_s, BY_JOB
    elif inherited is None:
        return Verdict(held_by=held_by or POLICY_UNKNOWN)
    else:
        ttl, rule = inherited.ttl_after(outcome.type)
        held_by = held_by or (GITOPS if job.gitops_owner else "")
    # If the clock was ahead when the job finished, its deletion is only deferred.
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
    """True if a job's finish time is in the future by more than `MOST_SKEW`."""
    return ended_at - now > MOST_SKEW


def counts_for_history(job: JobView) -> bool:
    """True if a job counts towards the history limits.

    Jobs that are held, owned by a GitOps tool, or have a TTL of their own do not count.
    """
    return (
        job.status.is_finished
        and job.spec.ttl_s is None
        and not job.gitops_owner
        and not _in_the_way(job)
    )


def finished_at(status: JobStatus) -> datetime | None:
    """Return the time at which a job finished; None if it has not.

    It is the completion time, or else the transition time of the terminal condition.
    """
    outcome = terminal_condition(status)
    return None if outcome is None else _finished_at(status, outcome)


def terminal_condition(status: JobStatus) -> Condition | None:
    """Return the terminal condition (`Complete`, `Failed` or `Cancelled`) that is true; else None."""
    return next((c for c in status.conditions if c.status and c.type in TERMINAL_CONDITIONS), None)


def _finished_at(status: JobStatus, outcome: Condition) -> datetime:
    return status.completion_time or outcome.last_transition_time


def _in_the_way(job: JobView) -> str:
    """Return the reason to keep a finished job regardless of its TTL; "": none."""
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
    return RECORD_HELD if job.has_record_finalizer else ""
