"""The log steps of a pass: requests logs from the archiver, and creates the job's directory."""

from typing import Final

from trainingjob_operator.core.archiving import can_be_read_early, lacks_volume
from trainingjob_operator.core.attempt import should_run
from trainingjob_operator.core.decision import Plan
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.job_stage import Stage, stage_of
from trainingjob_operator.jobs.job_entry import JobEntry
from trainingjob_operator.jobs.protocols import Logs

ASK_FOR_ROOM_S: Final = 1.0
"""Seconds after which logs that the archiver's full queue rejected are requested again."""

ASK_VOLUME_S: Final = 60.0
"""Seconds after which the directory of a job that runs without one is tried again."""


class LogKeeper:
    """Requests the logs of pods before the pods are deleted. Keeps no state."""

    def __init__(self, logs: Logs) -> None:
        self._logs: Final = logs

    def request_early(self, job: JobView, decided: Plan) -> bool:
        """Request the logs that may be read before the status is written.

        Returns:
            False if the archiver's queue has no room for all of them.
        """
        return self._logs.request_logs(
            job, [pod for pod in decided.archive if can_be_read_early(pod)]
        )

    def request(self, job: JobView, decided: Plan) -> bool:
        """Request all logs of the plan, once its status is written. False: the queue is full."""
        return self._logs.request_logs(job, decided.archive, decided.archive_search)

    def forget(self, entry: JobEntry) -> None:
        """Forget the outcomes of logs that the job's status contains by now."""
        job = entry.job
        if stage_of(job) > Stage.LOGS:
            self._logs.forget_log_outcomes(job.uid)
        else:
            self._logs.forget(job, {pod.uid for pod in entry.pods.values()})

    async def make_directory(self, entry: JobEntry) -> None:
        """Create the job's directory on the log volume before its first pod, or as soon as possible.

        A broken volume delays a job by a moment at most, and never keeps it from running.
        """
        if not entry.has_directory:
            entry.has_directory = await self._logs.ensure_job_directory(entry.job)

    async def retry_directory_s(self, entry: JobEntry) -> float | None:
        """Create the directory of a job that runs without one; return seconds until the next try."""
        if not lacks_volume(entry.job.status) or not should_run(entry.job):
            return None
        await self.make_directory(entry)
        return None if entry.has_directory else ASK_VOLUME_S
