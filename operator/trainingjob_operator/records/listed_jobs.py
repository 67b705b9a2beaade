"""Jobs that a list has just brought, whose records can be made without reading them once more.

Bound: `max_jobs`. A list is asked for only while there is room. What is too large for the index, the specs,
is in the manifest cache, with its own bound; a job whose manifest has gone from there is read.
"""

from collections import OrderedDict
from typing import Final

from trainingjob_operator.core.job import JobKey, JobView

MAX_JOBS: Final = 200
"""Two pages: one to send from while the next one is on its way."""


class ListedJobs:
    """Jobs in the order of the list, each once."""

    def __init__(self, max_jobs: int = MAX_JOBS) -> None:
        self.max_jobs: Final = max_jobs
        self._jobs: Final[OrderedDict[JobKey, JobView]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def room(self) -> int:
        """The number of jobs that can still come."""
        return self.max_jobs - len(self._jobs)

    def put(self, job: JobView) -> bool:
        """Take a job in, as it was listed last. False: there is no room."""
        if job.key not in self._jobs and not self.room:
            return False
        self._jobs[job.key] = job
        return True

    def take(self) -> JobView | None:
        """The first one, which is not here any more from now on."""
        return self._jobs.popitem(last=False)[1] if self._jobs else None

    def clear(self) -> list[JobKey]:
        """Forget all; whose they were."""
        keys = list(self._jobs)
        self._jobs.clear()
        return keys
