"""The part of a pass that concerns logs: asking for them, forgetting them, the job's directory."""

from typing import Final

from trainingjob_operator.core.archiving import can_be_read_early, lacks_volume
from trainingjob_operator.core.attempt import is_to_run
from trainingjob_operator.core.decision import Plan
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.job_stage import Stage, stage_of
from trainingjob_operator.jobs.job_entry import JobEntry
from trainingjob_operator.jobs.ports import Logs

ASK_FOR_ROOM_S: Final = 1.0
"""Interval at which the logs of a job ask again for room in the archive's queue."""

ASK_VOLUME_S: Final = 60.0
"""Interval at which a job that runs without its directory on the volume asks for it again."""


class LogKeeper:
    """Requests the logs of pods before the pods go, beside the record keeper. Remembers nothing."""

    def __init__(self, logs: Logs) -> None:
        self._logs: Final = logs

    def request_early(self, job: JobView, decided: Plan) -> bool:
        """Request the logs that may be read before the status is written.

        Returns:
            False if there is no room for all of them.
        """
        return self._logs.request_logs(
            job, [pod for pod in decided.archive if can_be_read_early(pod)]
        )

    def request(self, job: JobView, decided: Plan) -> bool:
        """Request all logs that the plan names, its status written. False: there is no room."""
        return self._logs.request_logs(job, decided.archive, decided.survey)

    def forget(self, entry: JobEntry) -> None:
        """Drop what is known of logs, where status says it by now."""
        job = entry.job
        if stage_of(job) > Stage.LOGS:
            self._logs.forget_log_outcomes(job.uid)
        else:
            self._logs.forget(job, {pod.uid for pod in entry.pods.values()})

    async def make_directory(self, entry: JobEntry) -> None:
        """Make the job's directory on the log volume before its first pod, or as soon as it goes.

        A volume that is broken delays no job for longer than a moment, and keeps none from running.
        """
        if not entry.has_directory:
            entry.has_directory = await self._logs.ensure_job_directory(entry.job)

    async def ask_again_s(self, entry: JobEntry) -> float | None:
        """Make the directory of a job that runs without one; return when to try again, if need be."""
        if not lacks_volume(entry.job.status) or not is_to_run(entry.job):
            return None
        await self.make_directory(entry)
        return None if entry.has_directory else ASK_VOLUME_S
