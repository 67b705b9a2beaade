"""The stages of a job after its end: its logs, its record, its release, and then it is free.

Each stage waits for the one before: the record names the logs, and the finalizer stands for the
record.
"""

from enum import IntEnum

from trainingjob_operator.core.job import JobStatus, JobView, RecordState

_NO_RECORD_WAITS = frozenset({RecordState.STORED, RecordState.NOT_REQUIRED, None})
"""None: the job finished before records were introduced."""


class Stage(IntEnum):
    """The next thing that a job waits for, in the order in which it happens."""

    LIVE = 0
    """Its end."""

    LOGS = 1
    """Its logs are to be archived, or given up, which takes a minute at most."""

    RECORD = 2
    """Its record is to be stored, or was rejected and is not given up."""

    RELEASE = 3
    """Our finalizer is still on it, and stands for nothing any more."""

    FREE = 4
    """Nothing of ours holds it."""


def stage_of(job: JobView, status: JobStatus | None = None) -> Stage:
    """Return the stage of a job.

    Args:
        job: the job.
        status: the status that it is to have; None: the one that it has.
    """
    status = job.status if status is None else status
    if not status.is_finished:
        return Stage.LIVE
    if status.logs_wait:
        return Stage.LOGS
    if status.record_state not in _NO_RECORD_WAITS:
        return Stage.RECORD
    return Stage.RELEASE if job.owes_record else Stage.FREE


def awaits_release(job: JobView) -> bool:
    """True if a finished job waits for the operator alone: it has to get a pass.

    A process can die between the write that says that the record is stored and the release, and
    between the write that says that the logs are to be archived and the one that says they are.
    """
    match stage_of(job):
        case Stage.LOGS | Stage.RELEASE:
            return True
        case Stage.RECORD:
            return is_unclaimed(job, job.status) or (
                job.owes_record and (job.deleting or job.discard_record)
            )
        case _:
            return False


def is_unclaimed(job: JobView, status: JobStatus) -> bool:
    """True if a record waits in a job that lacks the finalizer, and that is not being deleted.

    An uninstall leaves such jobs: it removes the finalizer, and the debt stays in status.
    """
    return status.record_waits and not job.owes_record and not job.deleting
