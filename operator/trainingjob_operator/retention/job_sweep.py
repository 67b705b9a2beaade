"""One sweep of the jobs that a policy rules: finds what is over, and has it deleted.

The list is read as a stream, a page at a time, and nothing is kept of it but what was asked for:
a hundred thousand jobs take as much memory as a page. Jobs whose time is over are mostly gone by
then, deleted on time; here is what memory has forgotten, what waited for a record, and what a
history limit says.

A list that fails ends the sweep. One that is forbidden (the Role of its namespace is missing) does
not keep the other namespaces from theirs, but the picture is not complete then. What was deleted
before that was decided on by itself, and a job that was one too many had so many newer ones:
neither needs the rest of the list.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from trainingjob_api.errors import ForbiddenError, KubernetesError, ThrottledError
from trainingjob_operator.core.history import History
from trainingjob_operator.core.job import JobKey, JobView, RecordState
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.core.plan import is_ours
from trainingjob_operator.core.retention import (
    FINISHED_AHEAD,
    RECORD_HELD,
    Inherited,
    finished_at,
)
from trainingjob_operator.kube.cluster import Cluster
from trainingjob_operator.retention.job_deleter import Remover
from trainingjob_operator.retention.policy_index import PolicyIndex

AT_ONCE: Final = 16
"""Deletions in flight at most: the list waits for those of its page."""

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class ListedJobs:
    """The result of a complete list of jobs, for the sweep of the volume.

    It grows with the jobs of the cluster, some 200 bytes each, and is gone when that sweep ends.
    """

    uids: set[str] = field(default_factory=set)
    finished: dict[str, datetime] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)

    def note(self, job: JobView) -> None:
        """Take in a job of any policy."""
        self.uids.add(job.uid)
        if job.keep:
            self.kept.add(job.uid)
        ended_at = finished_at(job.status)
        if ended_at is not None and job.status.record_state in {
            RecordState.STORED,
            RecordState.NOT_REQUIRED,
        }:
            self.finished[job.uid] = ended_at


@dataclass(slots=True)
class JobsReport:
    """Result of a sweep.

    Attributes:
        examined: jobs that were looked at.
        errors: jobs that could not be deleted, and lists that failed.
        skipped: jobs that stay although their time is over, or would be by a clock that was not
            ahead: how many, by reason.
        not_understood: jobs at which we failed.
        not_listed: why lists failed, one of each namespace.
        is_complete: every list was read to its end, and understood.
        seen: what was asked for of all jobs.
        listed_at: before the lists were begun; None: when the sweep was.
    """

    examined: int = 0
    errors: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    not_understood: int = 0
    not_listed: list[str] = field(default_factory=list)
    is_complete: bool = False
    seen: ListedJobs | None = None
    listed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Surplus:
    """A job that is one too many by a history limit of these rules; there is no view of it any more."""

    key: JobKey
    uid: str
    by: Inherited


DueJob = JobView | Surplus


class JobSweep:
    """Makes sweeps, one at a time."""

    def __init__(
        self,
        jobs: Cluster,
        policies: PolicyIndex,
        remover: Remover,
        *,
        enqueue: Callable[[JobKey], None] = lambda key: None,
    ) -> None:
        """Prepare.

        Args:
            jobs: where jobs are.
            policies: who rules which namespace.
            remover: deletes one job.
            enqueue: takes the key of a job that the reconciler has yet to let go.
        """
        self._jobs: Final = jobs
        self._policies: Final = policies
        self._remover: Final = remover
        self._enqueue: Final = enqueue

    async def run(
        self, namespaces: Sequence[str | None], *, ruler: str, remember: bool = False
    ) -> JobsReport:
        """Look at every job of these namespaces, and delete those of this policy that are over.

        Args:
            namespaces: what to list; None alone stands for everything.
            ruler: the namespace of the policy.
            remember: keep what the volume's sweep needs, of all jobs, under any policy.
        """
        report = JobsReport(seen=ListedJobs() if remember else None)
        try:
            for namespace in namespaces:
                await self._sweep_if_allowed(namespace, ruler, report)
            report.is_complete = not report.not_understood and not report.not_listed
        except KubernetesError as error:
            report.errors += 1
            report.not_listed.append(str(error))
            _logger.warning("Cleanup: cannot list jobs: %s; the sweep ends here", error)
        return report

    async def _sweep_if_allowed(
        self, namespace: str | None, ruler: str, report: JobsReport
    ) -> None:
        try:
            await self._sweep(namespace, ruler, report)
        except ForbiddenError as error:
            report.errors += 1
            where = f"in namespace {namespace}" if namespace is not None else "in the cluster"
            report.not_listed.append(f"{where}: {error}")
            _logger.warning("Cleanup: cannot list jobs %s: %s", where, error)

    async def _sweep(self, namespace: str | None, ruler: str, report: JobsReport) -> None:
        histories = Histories(self._policies)
        async for page in self._jobs.list_jobs(namespace):
            due: list[DueJob] = []
            for raw in page.items:
                try:
                    due += self.look(job_view(raw), ruler, histories, report)
                except Exception:
                    # What is not understood is counted, and the list is not complete without it.
                    report.errors += 1
                    report.not_understood += 1
                    _logger.exception("Cleanup: a job could not be looked at; this is a bug")
            await self._delete(due, report)

    async def delete_listed(self, due: list[DueJob], report: JobsReport) -> JobsReport:
        """Delete what a list has shown to be due, each if it still is, and count it in the report."""
        await self._delete(due, report)
        return report

    def look(
        self, job: JobView, ruler: str, histories: "Histories", report: JobsReport
    ) -> list[DueJob]:
        """Look at a job that was listed, for the policy of this namespace; return what is due."""
        report.examined += 1
        if report.seen is not None:
            report.seen.note(job)
        namespace = job.key.namespace
        is_over = job.status.is_finished and is_ours(job)
        if not is_over or self._policies.ruler_of(namespace) != ruler:
            return []
        return self._judge(job, histories.of(namespace), report)

    def _judge(self, job: JobView, history: History | None, report: JobsReport) -> list[DueJob]:
        verdict = self._remover.judge(job)
        if verdict.expired:
            return [job]
        self._remover.tell(job, verdict)
        if verdict.ahead:
            report.skipped[FINISHED_AHEAD] += 1
        elif self._remover.is_held(verdict):
            report.skipped[verdict.held_by] += 1
            if verdict.held_by == RECORD_HELD:
                self._enqueue(job.key)
        # One that finished in the future would be the newest until then, at the cost of newer ones.
        surplus = history.keep_newest(job) if history is not None and not verdict.ahead else None
        if history is None or surplus is None:
            return []
        return [Surplus(surplus.key, surplus.uid, history.inherited)]

    async def _delete(self, due: list[DueJob], report: JobsReport) -> None:
        """Delete all of these, the next one as soon as one is through."""
        waiting = iter(due)

        async def delete_in_turn() -> None:
            for each in waiting:
                await self._delete_one(each, report)

        await asyncio.gather(*(delete_in_turn() for _ in due[:AT_ONCE]))

    async def _delete_one(self, due: DueJob, report: JobsReport) -> None:
        """Delete a job. One that cannot be deleted is counted, and holds no other."""
        try:
            if isinstance(due, JobView):
                removal = await self._remover.remove(due)
            else:
                removal = await self._remover.remove_surplus(due.key, due.uid, due.by)
        except KubernetesError as error:
            report.errors += 1
            _logger.warning("Cleanup: cannot remove job %s: %s", due.key, error)
            if isinstance(error, ThrottledError):
                await asyncio.sleep(error.retry_after_s)
        except Exception:
            report.errors += 1
            _logger.exception("Cleanup: job %s could not be removed; this is a bug", due.key)
        else:
            if removal.kept_by:
                report.skipped[removal.kept_by] += 1


class Histories:
    """The history of the namespace that the list is at: lists are in the order of namespaces."""

    def __init__(self, policies: PolicyIndex) -> None:
        self._policies: Final = policies
        self._namespace = ""
        self._history: History | None = None

    def of(self, namespace: str) -> History | None:
        """The history of this namespace; None: what holds there is not known."""
        if namespace != self._namespace:
            inherited = self._policies.inherited_by(namespace)
            self._namespace = namespace
            self._history = History(inherited) if inherited is not None else None
        return self._history
