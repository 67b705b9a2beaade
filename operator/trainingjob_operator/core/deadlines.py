"""The two deadlines of a job, computed from its status, so that no restart of ours forgets them."""

from datetime import datetime, timedelta

from trainingjob_api.constants import REASON_QUEUED
from trainingjob_operator.core.decision import Refusal
from trainingjob_operator.core.job import JobStatus, JobView
from trainingjob_operator.core.ranks import Ranks
from trainingjob_operator.core.restart import pending_gang_retry


def active_deadline(job: JobView, status: JobStatus) -> datetime | None:
    """Return when `activeDeadlineSeconds` is over; None without one, or before the job started.

    It counts from `startTime`, over all attempts, and anew after a resume, as in batch/v1.
    """
    if job.spec.active_deadline_s is None or status.start_time is None:
        return None
    return status.start_time + timedelta(seconds=job.spec.active_deadline_s)


def pre_running_deadline(job: JobView, status: JobStatus, ranks: Ranks) -> datetime | None:
    """Return when `preRunningDeadlineSeconds` is over; None without one, or once every rank has run.

    It counts the time in which the attempt was free to start, and no other: it does not begin
    before `attemptStartTime`, and scheduling gates, by which another controller holds the pods, stop
    it; when they are gone it begins anew. While a gang that gave back what it had is away, it stands
    still.
    """
    if job.spec.pre_running_deadline_s is None or ranks.all_started or ranks.gated:
        return None
    if status.attempt_start_time is None or pending_gang_retry(status) is not None:
        return None
    return status.attempt_start_time + timedelta(seconds=job.spec.pre_running_deadline_s)


def attempt_start(
    status: JobStatus, ranks: Ranks, refusal: Refusal | None, *, now: datetime
) -> datetime | None:
    """Return the `attemptStartTime` of an attempt that is due; None while it is held back.

    Scheduling gates hold it back, and so does the operator's own limit. A quota does not: to wait
    for room in the cluster is what the deadline bounds.

    It is in status, so that a restart of the operator neither shortens nor lengthens the deadline.
    Once every rank has run nothing counts from it, and it stays as it is.
    """
    is_queued = refusal is not None and refusal.reason == REASON_QUEUED
    if ranks.gated or is_queued:
        return None
    return status.attempt_start_time if ranks.all_started else status.attempt_start_time or now
