"""The two deadlines of a job, computed from its status, so that no restart of ours forgets them."""

from datetime import datetime, timedelta

from trainingjob_operator.constants import CONDITION_RESTARTING, CONDITION_SUSPENDED
from trainingjob_operator.core.job import JobStatus, JobView
from trainingjob_operator.core.ranks import Ranks


def active_deadline(job: JobView, status: JobStatus) -> datetime | None:
    """When `activeDeadlineSeconds` is over; None without one, or before the job started.

    It counts from `startTime`, over all attempts, and anew after a resume, as in batch/v1.
    """
    if job.spec.active_deadline_s is None or status.start_time is None:
        return None
    return status.start_time + timedelta(seconds=job.spec.active_deadline_s)


def pre_running_deadline(job: JobView, status: JobStatus, ranks: Ranks) -> datetime | None:
    """When `preRunningDeadlineSeconds` is over; None without one, or once every rank has run.

    It counts from the job's creation, its resume, or the last change of `Restarting`, whichever
    came last: that is when the attempt was due.
    """
    if job.spec.pre_running_deadline_s is None or ranks.all_started:
        return None
    changes = [status.condition(kind) for kind in (CONDITION_RESTARTING, CONDITION_SUSPENDED)]
    since = max([job.created_at, *(c.last_transition_time for c in changes if c is not None)])
    return since + timedelta(seconds=job.spec.pre_running_deadline_s)
