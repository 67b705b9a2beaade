"""Computes a job's two deadlines from its status, so that they survive an operator restart."""

from datetime import datetime, timedelta

from trainingjob_api.constants import REASON_QUEUED
from trainingjob_operator.core.decision import Refusal
from trainingjob_operator.core.job import JobStatus, JobView
from trainingjob_operator.core.ranks import Ranks
from trainingjob_operator.core.restart import pending_gang_retry


def active_deadline(job: JobView, status: JobStatus) -> datetime | None:
    """Return the time at which `activeDeadlineSeconds` expires.

    None if it is not set or the job has not started. It counts from `startTime` over all attempts,
    and starts again after a resume, as in batch/v1.
    """
    if job.spec.active_deadline_s is None or status.start_time is None:
        return None
    return status.start_time + timedelta(seconds=job.spec.active_deadline_s)


def pre_running_deadline(job: JobView, status: JobStatus, ranks: Ranks) -> datetime | None:
    """Return the time at which `preRunningDeadlineSeconds` expires.

    None if it is not set or every rank has run. It counts only the time in which the attempt was free
    to start. It begins at `attemptStartTime`. Scheduling gates, with which another controller holds
    the pods, stop it; when they are removed it starts again. It is paused while a partly created
    gang waits for its retry (`core.partial_gang`).
    """
    if job.spec.pre_running_deadline_s is None or ranks.all_started or ranks.gated:
        return None
    if status.attempt_start_time is None or pending_gang_retry(status) is not None:
        return None
    return status.attempt_start_time + timedelta(seconds=job.spec.pre_running_deadline_s)


def attempt_start(
    status: JobStatus, ranks: Ranks, refusal: Refusal | None, *, now: datetime
) -> datetime | None:
    """Return the `attemptStartTime` of an attempt that may start; None while it is held back.

    Scheduling gates and the operator's own limit of pods hold it back. A quota does not: waiting for
    capacity in the cluster is what the deadline limits.

    The time is kept in status, so that a restart of the operator neither shortens nor lengthens the
    deadline. Once every rank has run, nothing depends on it and it no longer changes.
    """
    is_queued = refusal is not None and refusal.reason == REASON_QUEUED
    if ranks.gated or is_queued:
        return None
    return status.attempt_start_time if ranks.all_started else status.attempt_start_time or now
