"""The stages of a finished job: archive logs, store the record, release the finalizer, then free.

Each stage waits for the one before: the record contains the location of the logs, and the finalizer
is released when the record is stored or given up.
"""

from enum import IntEnum

from trainingjob_operator.core.job import JobStatus, JobView, RecordState

_NO_RECORD_WAITS = frozenset({RecordState.STORED, RecordState.NOT_REQUIRED, None})
"""None: the job finished before records were introduced."""


class Stage(IntEnum):
    """The next step that a job waits for, in the order of the steps."""

    LIVE = 0
    """It has not finished yet."""

    LOGS = 1
    """Its logs are to be archived or given up, which takes a bounded time (`log_archive/archiver.py`)."""

    RECORD = 2
    """Its record is to be stored, or was rejected and is not given up."""

    RELEASE = 3
    """Its finalizer is to be removed: the record is stored, or none is required."""

    FREE = 4
    """The operator no longer blocks its deletion."""


def stage_of(job: JobView, status: JobStatus | None = None) -> Stage:
    """Return the stage of a job.

    Args:
        job: the job.
        status: the status to judge by; None: the job's own.
    """
    status = job.status if status is None else status
    if not status.is_finished:
        return Stage.LIVE
    if status.logs_pending:
        return Stage.LOGS
    if status.record_state not in _NO_RECORD_WAITS:
        return Stage.RECORD
    return Stage.RELEASE if job.has_record_finalizer else Stage.FREE


def awaits_release(job: JobView) -> bool:
    """True if a finished job waits for nothing but a pass of the operator.

    The process can die after it wrote that the record is stored and before the release, or between
    the status writes "logs pending" and "logs archived".
    """
    match stage_of(job):
        case Stage.LOGS | Stage.RELEASE:
            return True
        case Stage.RECORD:
            return is_unclaimed(job, job.status) or (
                job.has_record_finalizer and (job.deleting or job.discard_record)
            )
        case _:
            return False


def is_unclaimed(job: JobView, status: JobStatus) -> bool:
    """True if a job's record is pending although the job lacks the finalizer and is not being deleted.

    An uninstall leaves such jobs: it removes the finalizer, and `status.recordState` stays.
    """
    return status.record_pending and not job.has_record_finalizer and not job.deleting
