"""Decides when a job needs a record, and tracks it until it is stored or given up.

The obligation is kept on the job itself, as a finalizer that is added before its first pod. Whatever
the settings are when the job finishes, the finalizer is removed only when the record is stored or
given up. A user's deletion also ends the wait, when the record is rejected or its deadline expires.

`status.recordState` serves as the outbox: memory holds only keys, which can be found again by it.
"""

from datetime import datetime, timedelta
from typing import Final

from trainingjob_api.constants import (
    CONDITION_PERSISTED,
    REASON_RECORD_DISCARDED,
    REASON_RECORD_NOT_REQUIRED,
    REASON_RECORD_PENDING,
    REASON_RECORD_REJECTED,
    REASON_RECORD_STORED,
    REASON_RECORD_UNAVAILABLE,
)
from trainingjob_operator.core.decision import DecisionSettings, Delivery, Observation
from trainingjob_operator.core.job import JobStatus, JobView, RecordState
from trainingjob_operator.core.job_stage import Stage, is_unclaimed, stage_of
from trainingjob_operator.core.status_draft import StatusDraft

_FIRST_REVISION: Final = 1


def must_claim(job: JobView, settings: DecisionSettings) -> bool:
    """True if the finalizer has to be added to the job before anything else is done.

    Running jobs get it, too: recording may have been enabled after they started.
    """
    wanted = settings.recording and not job.discard_record and job.invalid is None
    return (
        wanted and not job.has_record_finalizer and not job.deleting and not job.status.is_finished
    )


def must_reclaim(job: JobView, status: JobStatus) -> bool:
    """True if the finalizer has to be added again to a finished job whose record is pending.

    This does not depend on the settings. Without the finalizer a deletion would not wait for the
    record.

    Args:
        job: the job as it was seen.
        status: its status, updated with the result of the last delivery.
    """
    return is_unclaimed(job, status) and not job.discard_record


def open_record(draft: StatusDraft, seen: Observation) -> StatusDraft:
    """Return the draft of a job that has just finished, with its record pending or not required."""
    job = seen.job
    if job.discard_record:
        return _not_required(draft, REASON_RECORD_DISCARDED, _GIVEN_UP)
    if not job.has_record_finalizer:
        return _not_required(draft, REASON_RECORD_NOT_REQUIRED, "no record is required")
    if job.deleting and not _has_had_pods(seen):
        return _not_required(draft, REASON_RECORD_NOT_REQUIRED, "deleted before its first pod")
    draft = draft.with_fields(record_state=RecordState.PENDING, record_revision=_FIRST_REVISION)
    if seen.endpoint_is_down:
        message = "the record endpoint does not answer; the record is stored when it does"
        return _persisted(draft, REASON_RECORD_UNAVAILABLE, message)
    return _persisted(draft, REASON_RECORD_PENDING, "the record is waiting to be stored")


def settle_record(draft: StatusDraft, seen: Observation) -> StatusDraft:
    """Return the draft of a finished job, updated with the result of its record's delivery."""
    job, delivery = seen.job, seen.delivery
    if not draft.status.record_pending:
        return draft
    if job.discard_record:
        return _not_required(draft, REASON_RECORD_DISCARDED, _GIVEN_UP)
    expected = (job.uid, draft.status.record_revision)
    if delivery is None or (delivery.uid, delivery.revision) != expected:
        return draft
    return _delivered(draft, delivery)


def stored(draft: StatusDraft) -> StatusDraft:
    """Return the draft with the record marked as stored."""
    draft = draft.with_fields(record_state=RecordState.STORED)
    return _persisted(draft, REASON_RECORD_STORED, "the record is stored")


def may_release(
    status: JobStatus, job: JobView, settings: DecisionSettings, *, now: datetime
) -> bool:
    """True if the finalizer may be removed.

    A job that its user deleted is released after a deadline even if its record is not stored. Other
    jobs are not released before the record is stored or given up.
    """
    stage = stage_of(job, status)
    if not job.has_record_finalizer or stage <= Stage.LOGS:
        return False
    if stage is Stage.RELEASE and status.record_state is not None:
        return True
    is_rejected = status.record_state == RecordState.REJECTED
    return job.deleting and (is_rejected or now >= release_deadline(job, settings))


def release_deadline(job: JobView, settings: DecisionSettings) -> datetime:
    """Return when a job that its user deleted is released even if its record is not stored."""
    asked_at = job.deleted_at or job.created_at
    return asked_at + timedelta(seconds=settings.record_deadline_s)


_GIVEN_UP: Final = "the record was given up by annotation"


def _delivered(draft: StatusDraft, delivery: Delivery) -> StatusDraft:
    if delivery.result == "Stored":
        return stored(draft)
    if delivery.result == "Conflict" and delivery.revision == _FIRST_REVISION:
        # The receiver can have another revision 1: it was stored before the terminal write, and then
        # the process died, or a label changed before the next try. The object is the source of
        # truth, and a higher revision wins. Only once: otherwise two operators could outbid each
        # other for ever.
        revision = delivery.revision + 1
        draft = draft.with_fields(record_state=RecordState.PENDING, record_revision=revision)
        message = "the receiver has a different revision 1; revision 2 is waiting to be stored"
        return _persisted(draft, REASON_RECORD_PENDING, message)
    draft = draft.with_fields(record_state=RecordState.REJECTED)
    return _persisted(draft, REASON_RECORD_REJECTED, delivery.message)


def _has_had_pods(seen: Observation) -> bool:
    started = not seen.job.status.never_started
    return bool(started or seen.pods or seen.vanished or seen.done)


def _not_required(draft: StatusDraft, reason: str, message: str) -> StatusDraft:
    draft = draft.with_fields(record_state=RecordState.NOT_REQUIRED, record_revision=None)
    return _persisted(draft, reason, message)


def _persisted(draft: StatusDraft, reason: str, message: str) -> StatusDraft:
    is_stored = reason == REASON_RECORD_STORED
    return draft.with_condition(CONDITION_PERSISTED, to=is_stored, reason=reason, message=message)
