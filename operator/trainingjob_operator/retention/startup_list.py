"""The first sweep of each policy, by the list from which the index is filled at a start.

Every job is listed then, before anything is decided. What a sweep needs of that list is noted as it
comes, so that the first sweeps, which are due within a minute, need not list everything once more.
What is due is deleted as ever: judged again, and by uid and version.

A sweep lists by itself where that list does not say enough: it is not complete, or is old by now;
policies have changed since, or were not known; a job could not be looked at; there was too much; or
a history limit takes one, which takes that the newer ones are still there.

Bound: `MOST_DUE` jobs that are due, a report for each policy, and what the sweep of the volume needs
of all jobs. What no sweep has asked for is gone when the list is old.
"""

import asyncio
import logging
from collections import defaultdict
from typing import Final

from trainingjob_operator.clock import Clock
from trainingjob_operator.core.bounded import Bound
from trainingjob_operator.core.job import JobView
from trainingjob_operator.retention.job_sweep import (
    DueJob,
    Histories,
    JobsReport,
    JobSweep,
    ListedJobs,
    Surplus,
)
from trainingjob_operator.retention.policy_index import PolicyIndex

MOST_DUE: Final = 1_000
FRESH_S: Final = 120.0
"""Seconds after which the list is too old; the first sweeps begin within a minute of a start."""

_logger = logging.getLogger(__name__)


class StartupList:
    """Takes in one complete list; a `jobs.protocols.ListReader`."""

    def __init__(
        self, sweep: JobSweep, policies: PolicyIndex, clock: Clock, *, remember: bool
    ) -> None:
        """Prepare.

        Args:
            sweep: looks at a job.
            policies: who rules which namespace.
            clock: the time.
            remember: keep what the volume's sweep needs, of all jobs.
        """
        self._sweep: Final = sweep
        self._policies: Final = policies
        self._clock: Final = clock
        self._remember: Final = remember
        self._is_complete = False
        self._timer: asyncio.TimerHandle | None = None
        self._reset()

    def _reset(self) -> None:
        self._is_complete = self._is_void = False
        self._begun_at, self._begun = self._clock.now(), self._clock.monotonic()
        self._rules = self._policies.changes_total
        self._reports: defaultdict[str, JobsReport] = defaultdict(self._report)
        self._due: defaultdict[str, list[DueJob]] = defaultdict(list)
        self._due_total = 0
        self._taken: set[str] = set()
        self._histories = Histories(self._policies)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit."""
        return (Bound("first_look_due", self._due_total, MOST_DUE),)

    def begin(self) -> None:
        """Begin with a list, and forget one that was not read to its end."""
        self._reset()
        default = self._policies.default_namespace
        self._reports[default].seen = ListedJobs() if self._remember else None

    def look(self, job: JobView) -> None:
        """Take in a job of the list; those of one namespace come together."""
        if self._is_void:
            return
        default = self._policies.default_namespace
        try:
            for ruler in {default, self._policies.ruler_of(job.key.namespace)}:
                due = self._sweep.look(job, ruler, self._histories, self._reports[ruler])
                self._due[ruler] += due
                self._due_total += len(due)
                self._is_void |= any(isinstance(each, Surplus) for each in due)
        except Exception:
            _logger.exception("job %s could not be looked at; this is a bug", job.key)
            self._is_void = True
        if self._is_void or self._due_total > MOST_DUE:
            self.forget()

    def end(self, *, is_complete: bool) -> None:
        """Take note that the list was read to its end; of what it lacks nothing is known."""
        self._is_complete = is_complete and not self._is_void
        self._timer = asyncio.get_running_loop().call_later(FRESH_S, self.forget)

    def take(self, ruler: str) -> tuple[list[DueJob], JobsReport] | None:
        """Return what the list says for the policy of this namespace, once; None: not enough.

        Args:
            ruler: the namespace of the policy.
        """
        is_old = self._clock.monotonic() - self._begun > FRESH_S
        if is_old or self._rules != self._policies.changes_total:
            self.forget()
        if not self._is_complete or ruler in self._taken:
            return None
        self._taken.add(ruler)
        due = self._due.pop(ruler, [])
        self._due_total -= len(due)
        return due, self._reports.pop(ruler, self._report())

    def _report(self) -> JobsReport:
        return JobsReport(is_complete=True, listed_at=self._begun_at)

    def forget(self) -> None:
        """Forget everything; from now on every sweep lists by itself."""
        if self._timer is not None:
            self._timer.cancel()
        self._reset()
        self._is_void = True
