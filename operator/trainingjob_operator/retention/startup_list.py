"""Reuses the job list of the operator's start for the first sweep of each policy.

At its start the operator lists every job to fill the index. What the sweeps need is collected from
that list, so the first sweeps, due within a minute, need not list all jobs again. Due jobs are
deleted as always: judged again, and with uid and resourceVersion as preconditions.

A sweep makes its own list if this one does not suffice: it is incomplete or too old; policies have
changed since, or were unknown; a job could not be judged; too many jobs are due; or one exceeds a
history limit, which is true only while the newer jobs exist.

Bound: `MAX_DUE` due jobs, a report for each policy, and the uids of all jobs for the sweep of the
volume. All of it is dropped when the list is too old.
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

MAX_DUE: Final = 1_000
FRESH_S: Final = 120.0
"""Seconds after which the list is too old; the first sweeps start within a minute."""

_logger = logging.getLogger(__name__)


class StartupList:
    """Collects due jobs from one complete list; a `jobs.protocols.ListReader`."""

    def __init__(
        self, sweep: JobSweep, policies: PolicyIndex, clock: Clock, *, remember: bool
    ) -> None:
        """Prepare.

        Args:
            sweep: judges a job.
            policies: decides which policy applies to a namespace.
            clock: the time.
            remember: collect the jobs for the sweep of the volume.
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
        return (Bound("first_look_due", self._due_total, MAX_DUE),)

    def begin(self) -> None:
        """Start a list, and drop an earlier one that was not read to its end."""
        self._reset()
        default = self._policies.default_namespace
        self._reports[default].seen = ListedJobs() if self._remember else None

    def look(self, job: JobView) -> None:
        """Judge a job of the list; the jobs of one namespace must come in a row."""
        if self._is_void:
            return
        default = self._policies.default_namespace
        try:
            for policy_namespace in {
                default,
                self._policies.policy_namespace_of(job.key.namespace),
            }:
                due = self._sweep.judge_listed(
                    job, policy_namespace, self._histories, self._reports[policy_namespace]
                )
                self._due[policy_namespace] += due
                self._due_total += len(due)
                self._is_void |= any(isinstance(each, Surplus) for each in due)
        except Exception:
            _logger.exception("job %s could not be judged; this is a bug", job.key)
            self._is_void = True
        if self._is_void or self._due_total > MAX_DUE:
            self.forget()

    def end(self, *, is_complete: bool) -> None:
        """Finish the list; if it is incomplete, it is not used."""
        self._is_complete = is_complete and not self._is_void
        self._timer = asyncio.get_running_loop().call_later(FRESH_S, self.forget)

    def take(self, policy_namespace: str) -> tuple[list[DueJob], JobsReport] | None:
        """Return the due jobs and the report for a policy, once; None: the list does not suffice.

        Args:
            policy_namespace: the namespace of the policy.
        """
        is_old = self._clock.monotonic() - self._begun > FRESH_S
        if is_old or self._rules != self._policies.changes_total:
            self.forget()
        if not self._is_complete or policy_namespace in self._taken:
            return None
        self._taken.add(policy_namespace)
        due = self._due.pop(policy_namespace, [])
        self._due_total -= len(due)
        return due, self._reports.pop(policy_namespace, self._report())

    def _report(self) -> JobsReport:
        return JobsReport(is_complete=True, listed_at=self._begun_at)

    def forget(self) -> None:
        """Drop everything; from now on every sweep makes its own list."""
        if self._timer is not None:
            self._timer.cancel()
        self._reset()
        self._is_void = True
