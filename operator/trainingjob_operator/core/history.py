"""Applies history limits: the newest finished jobs of a namespace are kept, older ones are deleted.

It works on a stream of jobs and holds no more of them than the limit. A job is to be deleted as soon
as that many newer ones have been seen, which does not require a complete list.
"""

from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappush, heappushpop
from typing import Final, NamedTuple

from trainingjob_api.constants import CONDITION_COMPLETE
from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.core.retention import (
    Inherited,
    counts_for_history,
    finished_at,
    terminal_condition,
)


class Ended(NamedTuple):
    """A finished job; sorts by finish time, the oldest first."""

    finished_at: datetime
    key: JobKey
    uid: str


@dataclass(slots=True)
class History:
    """The newest finished jobs of one namespace. Bound: its limits, 100,000 at most each.

    Attributes:
        inherited: the retention rules that apply to this namespace.
    """

    inherited: Inherited
    _successful: list[Ended] = field(default_factory=list)
    _failed: list[Ended] = field(default_factory=list)

    def keep_newest(self, job: JobView) -> Ended | None:
        """Add a finished job that is not expired.

        Returns:
            The job that now exceeds the limit; None if none does.
        """
        outcome, ended_at = terminal_condition(job.status), finished_at(job.status)
        if outcome is None or ended_at is None or not counts_for_history(job):
            return None
        limit = self.inherited.history_limit(outcome.type)
        if limit is None:
            return None
        ended = Ended(ended_at, job.key, job.uid)
        kept: Final = self._successful if outcome.type == CONDITION_COMPLETE else self._failed
        if len(kept) >= limit:
            return heappushpop(kept, ended)
        heappush(kept, ended)
        return None
