"""Which pods wait with their end until their logs are archived, and when a job's logs are complete.

A pod's log goes with the pod. So whatever takes pods away (the end of an attempt, of the job, a
suspension) waits until their logs are archived or given up, which takes a minute at most: the
archive is a service to the job and never holds it for long.

`LogsArchived` with the reason `Pending` is the obligation, written together with the job's end. It
outlives the process: while it stands, the record is not sent, which names the logs, and the job is
not released. What is known of single pods is in memory; what memory has forgotten is in the file.

What a job should have logs of are the ranks that it had, and not the pods that are known: a pod can
go while the operator is away, or be deleted by force. Of a rank whose pod went unread the archive
is asked at the job's end (a `Survey`); at an attempt's end, which does not wait, memory alone is.
Pods that are there when their attempt ends are noted in status until their logs are archived
(`core.unread_logs`): of those that go while the operator is away, the archive is asked as well.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from trainingjob_api.constants import (
    CONDITION_LOGS_ARCHIVED,
    REASON_LOGS_ARCHIVED,
    REASON_LOGS_PENDING,
    REASON_LOGS_TRUNCATED,
    REASON_LOGS_UNAVAILABLE,
)
from trainingjob_operator.core.decision import (
    DecisionSettings,
    LogOutcome,
    Observation,
    Plan,
    Survey,
)
from trainingjob_operator.core.fast_replace import replace_fields
from trainingjob_operator.core.job import JobStatus, JobView, UnreadLogs
from trainingjob_operator.core.job_stage import Stage, stage_of
from trainingjob_operator.core.message_text import cut
from trainingjob_operator.core.naming import format_indexes, job_directory, parse_indexes
from trainingjob_operator.core.pod import PodView
from trainingjob_operator.core.status_draft import StatusDraft
from trainingjob_operator.core.unread_logs import (
    is_noted,
    still_unread,
    survey_of_noted,
    unbegun_ranks,
    unread_ranks,
    within_limit,
)

_NOT_CONFIGURED: Final = "the operator has no log volume any more"
_TOO_MANY: Final = "the attempts ended faster than their logs could be archived"
_TO_COME: Final = "the logs are to be archived"
_AND: Final = "; "
_MAX_RANKS: Final = 300
"""Bytes of a list of ranks in a message."""

_MISSING: Final = re.compile(
    r"the logs? of ranks? ([0-9,-]{1,300})(?:\.\.\.)? of attempt (\d{1,10}) "
)
_UNREAD: Final = "the pod was gone before its log was known to be archived"
_TOO_LATE: Final = "the pods were gone before their logs were known to be archived"


def archive_first(
    decided: Plan, seen: Observation, settings: DecisionSettings, *, now: datetime
) -> Plan:
    """Return the plan without the deletions of pods whose logs are not archived yet."""
    job, draft = seen.job, StatusDraft.of(seen.job, status=decided.status, now=now)
    if not settings.archiving:
        return replace_fields(decided, status=_give_up(draft, job).status)
    if stage_of(job) > Stage.LOGS:
        return decided  # it was settled before; what is left of its pods may go
    doomed = {victim.uid for victim in decided.delete}
    wanted = tuple(
        pod
        for pod in seen.pods
        if pod.uid not in seen.logs and _is_due(pod, doomed, finished=draft.status.is_finished)
    )
    unread = unread_ranks(seen) if _is_over(job.status, draft.status) else frozenset()
    noted = None if decided.create else survey_of_noted(seen)  # pods come first: that can wait
    is_known_gone = noted is None and unread <= seen.vanished | seen.done
    if not (seen.pods_are_live or is_known_gone):
        return Plan(status=job.status, needs_live_pods=True)
    survey = Survey(attempt=job.status.attempt, ranks=unread) if unread else None
    if survey is not None and not draft.status.is_finished:
        lost = _unread(survey.attempt, survey.ranks, _UNREAD)
        draft, survey = _missing(draft, [lost]), None
    survey = noted or survey
    given_up, still = within_limit(still_unread(draft.status, seen))
    draft = _miss(_with_outcomes(draft, seen), given_up, _TOO_MANY)
    if draft.status.is_finished:
        draft = _conclude(draft, seen, waits=bool(wanted or survey))
    status = draft.status
    held = {pod.uid for pod in wanted}
    as_seen = {pod.uid: pod.resource_version for pod in seen.pods if _may_begin(pod)}
    delete = tuple(
        replace_fields(victim, version=as_seen.get(victim.uid))
        for victim in decided.delete
        if victim.uid not in held
    )
    status = replace_fields(status, unbegun_indexes=unbegun_ranks(status, seen, doomed))
    # When nothing is unread any more, that is written in any case: nothing else might be. And when
    # a pod has begun after the end of its attempt: it may go before the next process finds it.
    is_resolved = bool(job.status.unread_logs) and not still
    late = (pod for pod in wanted if pod.uid in doomed and is_noted(pod, still))
    has_begun_late = any(not is_noted(pod, job.status.unread_logs) for pod in late)
    if delete or is_resolved or has_begun_late or status != job.status:
        status = replace_fields(_with_place(status, seen), unread_logs=still)
    return replace_fields(decided, status=status, delete=delete, archive=wanted, survey=survey)


def _is_over(old: JobStatus, new: JobStatus) -> bool:
    """True if the attempt of the old status ends, or has ended with its job."""
    return new.is_finished or new.attempt != old.attempt


def _unread(attempt: int, ranks: frozenset[int], why: str) -> LogOutcome:
    return LogOutcome(attempt=attempt, rank=min(ranks), ranks=ranks, lost=why)


def lacks_volume(status: JobStatus) -> bool:
    """True if a job that runs could not get its directory on the volume when it started."""
    found = status.condition(CONDITION_LOGS_ARCHIVED)
    return found is not None and found.reason == REASON_LOGS_UNAVAILABLE and not status.is_finished


def can_be_read_early(pod: PodView) -> bool:
    """True if its log may be archived before it is recorded what becomes of the pod.

    That of a pod which runs and which we are about to delete is read only when status says so: if
    it came otherwise, the pod would run on and the rest of its log would be missing.
    """
    return pod.has_ended or pod.deleting


def _may_begin(pod: PodView) -> bool:
    """True if a pod has no log yet and may have one a moment later.

    It goes only as it was seen: what it writes after that would be lost, and nobody would know.
    """
    return not (pod.has_log or pod.deleting or pod.is_over or pod.has_ended)


def _is_due(pod: PodView, doomed: set[str], *, finished: bool) -> bool:
    if not pod.has_log:
        return False  # no container of it has started, or is the reason why it failed
    return can_be_read_early(pod) or pod.uid in doomed or finished


def _with_outcomes(draft: StatusDraft, seen: Observation) -> StatusDraft:
    """Say what is known to be missing as soon as it is: its pod may be gone soon."""
    if lost := [outcome for outcome in seen.logs.values() if outcome.lost]:
        return _missing(draft, lost)
    unsaid = draft.status.condition(CONDITION_LOGS_ARCHIVED) is None
    if seen.volume_error and unsaid and not draft.status.is_finished:
        return _say(draft, REASON_LOGS_UNAVAILABLE, seen.volume_error)
    return draft


def _missing(draft: StatusDraft, lost: Sequence[LogOutcome]) -> StatusDraft:
    """Say that logs are missing. That stays said, whatever else is archived later.

    The first attempt that lacks logs is named, with its ranks as far as they are known by then;
    at the job's end all of them are.
    """
    said = _said_missing(draft.status)
    if said and not draft.status.is_finished:
        return draft
    first = _first(lost)
    assert first is not None
    ranks = frozenset[int]().union(*(o.missing for o in lost if o.attempt == first.attempt))
    if said:
        attempt, named = _named(said)
        if attempt != first.attempt or ranks <= named:
            return _say(draft, REASON_LOGS_TRUNCATED, said)
        ranks |= named
    which = cut(format_indexes(ranks), _MAX_RANKS)
    what = f"log of rank {which}" if len(ranks) == 1 else f"logs of ranks {which}"
    verb = "is" if len(ranks) == 1 else "are"
    message = f"the {what} of attempt {first.attempt} {verb} missing: {first.lost}"
    return _say(draft, REASON_LOGS_TRUNCATED, message)


def _said_missing(status: JobStatus) -> str:
    """Return what is said to be missing; while logs are to come, it is said behind that."""
    if _says_missing(status):
        return _message(status)
    return _message(status).partition(_AND)[2] if status.logs_wait else ""


def _named(message: str) -> tuple[int | None, frozenset[int]]:
    """Return the attempt and the ranks that a message of `_missing` names."""
    found = _MISSING.match(message)
    return (int(found[2]), parse_indexes(found[1])) if found else (None, frozenset())


def _says_missing(status: JobStatus) -> bool:
    found = status.condition(CONDITION_LOGS_ARCHIVED)
    return found is not None and not found.status and found.reason == REASON_LOGS_TRUNCATED


def _conclude(draft: StatusDraft, seen: Observation, *, waits: bool) -> StatusDraft:
    """Say how the logs of a job that is over are archived, or that some are still to come."""
    if waits:
        # `Pending` is all that others wait for; what is missing by now is said behind it.
        said = _said_missing(draft.status)
        return _say(draft, REASON_LOGS_PENDING, _TO_COME + (_AND + said if said else ""))
    outcomes = tuple(seen.logs.values())
    if draft.status.never_started and not outcomes:
        return draft
    to, reason, message = _verdict(draft.status, seen.job, outcomes)
    return _say(draft, reason, message, to=to)


def _verdict(
    status: JobStatus, job: JobView, outcomes: tuple[LogOutcome, ...]
) -> tuple[bool, str, str]:
    """Return the condition's status, reason and message: the worst of what is known."""
    missing = _said_missing(status)
    if status.logs_wait and not outcomes:
        missing = missing or _TOO_LATE
    if missing:
        broken = all(outcome.lost and outcome.volume_fault for outcome in outcomes)
        nothing = bool(outcomes) and broken and not status.log_bytes
        return False, REASON_LOGS_UNAVAILABLE if nothing else REASON_LOGS_TRUNCATED, missing
    if short := _first(outcome for outcome in outcomes if outcome.cut):
        left_out = f"the first {short.cut} bytes of rank {short.rank} of attempt {short.attempt}"
        return True, REASON_LOGS_TRUNCATED, f"{left_out} are left out"
    return True, REASON_LOGS_ARCHIVED, f"the logs are in {job_directory(job.uid)}.log"


def _give_up(draft: StatusDraft, job: JobView) -> StatusDraft:
    """Without a volume nothing is owed; what was is said to be missing."""
    if draft.status.logs_wait:
        draft = _say(draft, REASON_LOGS_UNAVAILABLE, _NOT_CONFIGURED)
    elif not job.status.is_finished:
        draft = _miss(draft, draft.status.unread_logs, _NOT_CONFIGURED)
    return draft.with_fields(unread_logs=())


def _miss(draft: StatusDraft, unread: Sequence[UnreadLogs], why: str) -> StatusDraft:
    """Say that the logs of a note are missing."""
    noted = [(entry.attempt, parse_indexes(entry.ranks)) for entry in unread]
    lost = [_unread(attempt, ranks, why) for attempt, ranks in noted if ranks]
    return _missing(draft, lost) if lost else draft


def _with_place(status: JobStatus, seen: Observation) -> JobStatus:
    """Return the status with where the logs are and how much there is of them.

    Only where it is written anyhow, or before pods go: when they are gone, a process that knows
    nothing cannot ask for their logs again. A write after every rank would cost more than the
    number is worth.
    """
    sizes = (outcome.size for outcome in seen.logs.values())
    size = max([status.log_bytes or 0, *sizes])
    return replace_fields(status, log_path=job_directory(seen.job.uid), log_bytes=size)


def _first(outcomes: Iterable[LogOutcome]) -> LogOutcome | None:
    return min(outcomes, key=lambda o: (o.attempt, o.rank), default=None)


def _message(status: JobStatus) -> str:
    found = status.condition(CONDITION_LOGS_ARCHIVED)
    return found.message if found is not None else ""


def _say(draft: StatusDraft, reason: str, message: str, *, to: bool = False) -> StatusDraft:
    return draft.with_condition(CONDITION_LOGS_ARCHIVED, to=to, reason=reason, message=message)
