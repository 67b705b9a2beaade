"""A queue of jobs that a list has just returned, whose records need no further read.

Bound: `max_jobs`; a list is requested only while there is room. Specs are in the manifest cache,
which has its own bound; a job whose manifest was evicted there is read.
"""

from collections import OrderedDict
from typing import Final

from trainingjob_operator.core.job import JobKey, JobView

MAX_JOBS: Final = 200
"""Two pages: one that is being sent while the next one is requested."""


class ListedJobs:
    """Jobs in the order of the list, each once."""

    def __init__(self, max_jobs: int = MAX_JOBS) -> None:
        self.max_jobs: Final = max_jobs
        self._jobs: Final[OrderedDict[JobKey, JobView]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def room(self) -> int:
        """The number of jobs that can still be added."""
        return self.max_jobs - len(self._jobs)

    def put(self, job: JobView) -> bool:
        """Add or update a listed job. False: there is no room."""
        if job.key not in self._jobs and not self.room:
            return False
        self._jobs[job.key] = job
        return True

    def take(self) -> JobView | None:
        """Remove and return the first job; None: there is none."""
        return self._jobs.popitem(last=False)[1] if self._jobs else None

    def clear(self) -> list[JobKey]:
        """Remove all jobs, and return their keys."""
        keys = list(self._jobs)
        self._jobs.clear()
        return keys
