"""Delays pod deletions until the pods' logs are archived, and derives the condition `LogsArchived`.

Deleting a pod deletes its log. So every deletion (end of an attempt, end of the job, suspension)
waits until the log is archived or given up. The wait is bounded, because archiving must never block a
job for ever: a minute, and two seconds for each log that was requested before.

`LogsArchived=False` with the reason `Pending` records that logs are still to be archived. It is
written together with the job's end and survives an operator restart. While it is set, the record is
not sent (it contains the location of the logs) and the job's finalizer is not released. The state of
single pods is kept in memory; after a restart it is read from the archive file.

Logs are expected for every rank that had a pod, not only for the pods that still exist: a pod can
disappear while the operator is down, or be force-deleted. At the job's end the archive is searched
for the ranks whose pods disappeared before their logs were read (an `ArchiveSearch`). The end of an attempt
does not wait for such a search and relies on memory. Pods that exist when their attempt ends are
listed in status until their logs are archived (`core.unread_logs`), so the archive is also searched
for those that disappear while the operator is down.
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
    ArchiveSearch,
    DecisionSettings,
    LogOutcome,
    Observation,
    Plan,
)
from trainingjob_operator.core.fast_replace import replace_fields
from trainingjob_operator.core.job import JobStatus, JobView, UnreadLogs
from trainingjob_operator.core.job_stage import Stage, stage_of
from trainingjob_operator.core.message_text import truncate
from trainingjob_operator.core.naming import format_indexes, job_directory, parse_indexes
from trainingjob_operator.core.pod import PodView
from trainingjob_operator.core.status_draft import StatusDraft
from trainingjob_operator.core.unread_logs import (
    is_listed,
    remaining_unread,
    search_for_unread,
    split_at_limit,
    unbegun_ranks,
    unread_ranks,
)

_NOT_CONFIGURED: Final = "the operator no longer has a log volume"
_TOO_MANY: Final = "the attempts ended faster than their logs could be archived"
_PENDING: Final = "the logs are waiting to be archived"
_AND: Final = "; "
_MAX_RANKS: Final = 300
"""Maximum length of a list of ranks in a message, in bytes."""

_MISSING: Final = re.compile(
    r"the logs? of ranks? ([0-9,-]{1,300})(?:\.\.\.)? of attempt (\d{1,10}) "
)
_GONE_UNREAD: Final = "the pod was deleted before its log was known to be archived"
_TOO_LATE: Final = "the pods were deleted before their logs were known to be archived"


def archive_first(
    decided: Plan, seen: Observation, settings: DecisionSettings, *, now: datetime
) -> Plan:
    """Return the plan without the deletions of pods whose logs are not archived yet."""
    job, draft = seen.job, StatusDraft.of(seen.job, status=decided.status, now=now)
    if not settings.archiving:
        return replace_fields(decided, status=_without_volume(draft, job).status)
    if stage_of(job) > Stage.LOGS:
        return decided  # the logs are archived or given up: remaining pods may be deleted
    deleted_uids = {deletion.uid for deletion in decided.delete}
    to_archive = tuple(
        pod
        for pod in seen.pods
        if pod.uid not in seen.logs
        and _is_due(pod, deleted_uids, finished=draft.status.is_finished)
    )
    unread = unread_ranks(seen) if _is_over(job.status, draft.status) else frozenset()
    # Creating pods comes first; the search can wait.
    search_listed = None if decided.create else search_for_unread(seen)
    is_known_gone = search_listed is None and unread <= seen.vanished | seen.done
    if not (seen.pods_are_live or is_known_gone):
        return Plan(status=job.status, needs_live_pods=True)
    archive_search = ArchiveSearch(attempt=job.status.attempt, ranks=unread) if unread else None
    if archive_search is not None and not draft.status.is_finished:
        lost = _lost_logs(archive_search.attempt, archive_search.ranks, _GONE_UNREAD)
        draft, archive_search = _report_missing(draft, [lost]), None
    archive_search = search_listed or archive_search
    given_up, remaining = split_at_limit(remaining_unread(draft.status, seen))
    draft = _report_unread_missing(_with_outcomes(draft, seen), given_up, _TOO_MANY)
    if draft.status.is_finished:
        draft = _conclude(draft, seen, waits=bool(to_archive or archive_search))
    status = draft.status
    held = {pod.uid for pod in to_archive}
    as_seen = {pod.uid: pod.resource_version for pod in seen.pods if _may_begin(pod)}
    delete = tuple(
        replace_fields(deletion, version=as_seen.get(deletion.uid))
        for deletion in decided.delete
        if deletion.uid not in held
    )
    status = replace_fields(status, unbegun_indexes=unbegun_ranks(status, seen, deleted_uids))
    # Two changes cause a status write of their own, because nothing else might be written: the last
    # unread log is archived, or a pod started after the end of its attempt (it might disappear before
    # the next process sees it).
    is_resolved = bool(job.status.unread_logs) and not remaining
    late = (pod for pod in to_archive if pod.uid in deleted_uids and is_listed(pod, remaining))
    has_begun_late = any(not is_listed(pod, job.status.unread_logs) for pod in late)
    if delete or is_resolved or has_begun_late or status != job.status:
        status = replace_fields(_with_location(status, seen), unread_logs=remaining)
    return replace_fields(
        decided, status=status, delete=delete, archive=to_archive, archive_search=archive_search
    )


def _is_over(old: JobStatus, new: JobStatus) -> bool:
    """True if the attempt of the old status ends now, or ended with its job."""
    return new.is_finished or new.attempt != old.attempt


def _lost_logs(attempt: int, ranks: frozenset[int], why: str) -> LogOutcome:
    return LogOutcome(attempt=attempt, rank=min(ranks), ranks=ranks, lost=why)


def lacks_volume(status: JobStatus) -> bool:
    """True if a running job could not get its directory on the log volume when it started."""
    found = status.condition(CONDITION_LOGS_ARCHIVED)
    return found is not None and found.reason == REASON_LOGS_UNAVAILABLE and not status.is_finished


def can_be_read_early(pod: PodView) -> bool:
    """True if a pod's log may be archived before status says that the pod is deleted.

    The log of a running pod that is about to be deleted is read only after status says so. If the
    decision changed in between, the pod would run on and the rest of its log would be missing.
    """
    return pod.has_ended or pod.deleting


def _may_begin(pod: PodView) -> bool:
    """True if a pod has no log yet but may start writing one at any moment.

    Such a pod is deleted only at the resourceVersion that was seen. Otherwise its log could be lost
    unnoticed, if it started just before the deletion.
    """
    return not (pod.has_log or pod.deleting or pod.is_over or pod.has_ended)


def _is_due(pod: PodView, deleted_uids: set[str], *, finished: bool) -> bool:
    if not pod.has_log:
        return False  # none of its containers has started or caused its failure
    return can_be_read_early(pod) or pod.uid in deleted_uids or finished


def _with_outcomes(draft: StatusDraft, seen: Observation) -> StatusDraft:
    """Report logs that are known to be missing at once, because their pods may disappear soon."""
    if lost := [outcome for outcome in seen.logs.values() if outcome.lost]:
        return _report_missing(draft, lost)
    unsaid = draft.status.condition(CONDITION_LOGS_ARCHIVED) is None
    if seen.volume_error and unsaid and not draft.status.is_finished:
        return _set_condition(draft, REASON_LOGS_UNAVAILABLE, seen.volume_error)
    return draft


def _report_missing(draft: StatusDraft, lost: Sequence[LogOutcome]) -> StatusDraft:
    """Set the condition to say that logs are missing. Later successes do not clear it.

    The message names the first attempt with missing logs and those of its ranks that are known so
    far. The write at the job's end completes the list.
    """
    said = _reported_missing(draft.status)
    if said and not draft.status.is_finished:
        return draft
    first = _earliest(lost)
    assert first is not None
    ranks = frozenset[int]().union(*(o.missing for o in lost if o.attempt == first.attempt))
    if said:
        attempt, named = _ranks_in_message(said)
        if attempt != first.attempt or ranks <= named:
            return _set_condition(draft, REASON_LOGS_TRUNCATED, said)
        ranks |= named
    which = truncate(format_indexes(ranks), _MAX_RANKS)
    what = f"log of rank {which}" if len(ranks) == 1 else f"logs of ranks {which}"
    verb = "is" if len(ranks) == 1 else "are"
    message = f"the {what} of attempt {first.attempt} {verb} missing: {first.lost}"
    return _set_condition(draft, REASON_LOGS_TRUNCATED, message)


def _reported_missing(status: JobStatus) -> str:
    """Return the part of the condition's message that names missing logs; "" if there is none.

    While other logs are pending, it is the second part of the message.
    """
    if _reports_missing(status):
        return _message(status)
    return _message(status).partition(_AND)[2] if status.logs_pending else ""


def _ranks_in_message(message: str) -> tuple[int | None, frozenset[int]]:
    """Return the attempt and the ranks that a message of `_report_missing` names."""
    found = _MISSING.match(message)
    return (int(found[2]), parse_indexes(found[1])) if found else (None, frozenset())


def _reports_missing(status: JobStatus) -> bool:
    found = status.condition(CONDITION_LOGS_ARCHIVED)
    return found is not None and not found.status and found.reason == REASON_LOGS_TRUNCATED


def _conclude(draft: StatusDraft, seen: Observation, *, waits: bool) -> StatusDraft:
    """Set the condition of a finished job: how its logs were archived, or that some are pending."""
    if waits:
        # Other code checks for the reason `Pending` only; logs that are missing are appended.
        said = _reported_missing(draft.status)
        return _set_condition(draft, REASON_LOGS_PENDING, _PENDING + (_AND + said if said else ""))
    outcomes = tuple(seen.logs.values())
    if draft.status.never_started and not outcomes:
        return draft
    to, reason, message = _verdict(draft.status, seen.job, outcomes)
    return _set_condition(draft, reason, message, to=to)


def _verdict(
    status: JobStatus, job: JobView, outcomes: tuple[LogOutcome, ...]
) -> tuple[bool, str, str]:
    """Return the condition's status, reason and message, by the worst known outcome."""
    missing = _reported_missing(status)
    if status.logs_pending and not outcomes:
        missing = missing or _TOO_LATE
    if missing:
        broken = all(outcome.lost and outcome.volume_fault for outcome in outcomes)
        nothing = bool(outcomes) and broken and not status.log_bytes
        return False, REASON_LOGS_UNAVAILABLE if nothing else REASON_LOGS_TRUNCATED, missing
    if short := _earliest(outcome for outcome in outcomes if outcome.cut):
        left_out = f"the first {short.cut} bytes of rank {short.rank} of attempt {short.attempt}"
        return True, REASON_LOGS_TRUNCATED, f"{left_out} are left out"
    return True, REASON_LOGS_ARCHIVED, f"the logs are in {job_directory(job.uid)}.log"


def _without_volume(draft: StatusDraft, job: JobView) -> StatusDraft:
    """Report all pending logs as missing: the operator has no log volume."""
    if draft.status.logs_pending:
        draft = _set_condition(draft, REASON_LOGS_UNAVAILABLE, _NOT_CONFIGURED)
    elif not job.status.is_finished:
        draft = _report_unread_missing(draft, draft.status.unread_logs, _NOT_CONFIGURED)
    return draft.with_fields(unread_logs=())


def _report_unread_missing(
    draft: StatusDraft, unread: Sequence[UnreadLogs], why: str
) -> StatusDraft:
    """Report the logs of all ranks in `unread` as missing."""
    listed = [(entry.attempt, parse_indexes(entry.ranks)) for entry in unread]
    lost = [_lost_logs(attempt, ranks, why) for attempt, ranks in listed if ranks]
    return _report_missing(draft, lost) if lost else draft


def _with_location(status: JobStatus, seen: Observation) -> JobStatus:
    """Return the status with the path and the size of the archived logs.

    They are set only if the status is written anyway, or before pods are deleted: afterwards a new
    process could not find out about the logs. A write for each archived rank would cost more than
    the number is worth.
    """
    sizes = (outcome.size for outcome in seen.logs.values())
    size = max([status.log_bytes or 0, *sizes])
    return replace_fields(status, log_path=job_directory(seen.job.uid), log_bytes=size)


def _earliest(outcomes: Iterable[LogOutcome]) -> LogOutcome | None:
    return min(outcomes, key=lambda o: (o.attempt, o.rank), default=None)


def _message(status: JobStatus) -> str:
    found = status.condition(CONDITION_LOGS_ARCHIVED)
    return found.message if found is not None else ""


def _set_condition(
    draft: StatusDraft, reason: str, message: str, *, to: bool = False
) -> StatusDraft:
    return draft.with_condition(CONDITION_LOGS_ARCHIVED, to=to, reason=reason, message=message)
