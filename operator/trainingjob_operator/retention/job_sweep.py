"""Sweeps the jobs of one policy: lists them, and deletes those that are expired or surplus.

The list is streamed page by page, and only the requested data is kept of it, so a hundred thousand
jobs take no more memory than one page. Most expired jobs were already deleted on time. The sweep
finds those that were evicted from memory, those that waited for their record, and those that exceed
a history limit.

If a list fails, the sweep ends. If one is forbidden (the Role of its namespace is missing), the
other namespaces are swept all the same, and the result is marked as incomplete. Deletions made
before a failure were right: an expired job is judged by itself, and a surplus one had enough newer
jobs, so neither depends on the rest of the list.
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
from trainingjob_operator.retention.job_deleter import JobDeleter
from trainingjob_operator.retention.policy_index import PolicyIndex

MAX_CONCURRENT_DELETIONS: Final = 16
"""Maximum number of concurrent deletions; the next page is read when those of this one are done."""

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class ListedJobs:
    """The jobs of a complete list, for the sweep of the volume.

    It takes some 200 bytes for each job of the cluster, and is dropped when that sweep ends.
    """

    uids: set[str] = field(default_factory=set)
    finished: dict[str, datetime] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)

    def note(self, job: JobView) -> None:
        """Add a job of any policy."""
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
    """The result of a sweep.

    Attributes:
        examined: number of listed jobs.
        errors: number of jobs that could not be deleted, and of lists that failed.
        skipped: number of kept jobs by reason: they are expired, or would be if their completion
            time were not in the future.
        not_understood: number of jobs that could not be judged.
        not_listed: the errors of failed lists, one for each namespace.
        is_complete: whether every list was read to its end, and every job judged.
        seen: the jobs of the lists, if requested.
        listed_at: a time before the first list; None: the start of the sweep.
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
    """A job that exceeds the history limit of these rules; its view is no longer in memory."""

    key: JobKey
    uid: str
    by: Inherited


DueJob = JobView | Surplus


class JobSweep:
    """Makes sweeps; one at a time."""

    def __init__(
        self,
        jobs: Cluster,
        policies: PolicyIndex,
        remover: JobDeleter,
        *,
        enqueue: Callable[[JobKey], None] = lambda key: None,
    ) -> None:
        """Prepare.

        Args:
            jobs: the client that lists jobs.
            policies: decides which policy applies to a namespace.
            remover: deletes one job.
            enqueue: takes the key of a job that the reconciler still has to release.
        """
        self._jobs: Final = jobs
        self._policies: Final = policies
        self._remover: Final = remover
        self._enqueue: Final = enqueue

    async def run(
        self, namespaces: Sequence[str | None], *, policy_namespace: str, remember: bool = False
    ) -> JobsReport:
        """Judge every job of these namespaces, and delete those of this policy that are due.

        Args:
            namespaces: the namespaces to list; None alone stands for all.
            policy_namespace: the namespace of the policy.
            remember: collect all jobs, of any policy, for the sweep of the volume.
        """
        report = JobsReport(seen=ListedJobs() if remember else None)
        try:
            for namespace in namespaces:
                await self._sweep_if_allowed(namespace, policy_namespace, report)
            report.is_complete = not report.not_understood and not report.not_listed
        except KubernetesError as error:
            report.errors += 1
            report.not_listed.append(str(error))
            _logger.warning("Cleanup: cannot list jobs: %s; the sweep ends here", error)
        return report

    async def _sweep_if_allowed(
        self, namespace: str | None, policy_namespace: str, report: JobsReport
    ) -> None:
        try:
            await self._sweep(namespace, policy_namespace, report)
        except ForbiddenError as error:
            report.errors += 1
            where = f"in namespace {namespace}" if namespace is not None else "in the cluster"
            report.not_listed.append(f"{where}: {error}")
            _logger.warning("Cleanup: cannot list jobs %s: %s", where, error)

    async def _sweep(
        self, namespace: str | None, policy_namespace: str, report: JobsReport
    ) -> None:
        histories = Histories(self._policies)
        async for page in self._jobs.list_jobs(namespace):
            due: list[DueJob] = []
            for raw in page.items:
                try:
                    due += self.judge_listed(job_view(raw), policy_namespace, histories, report)
                except Exception:
                    # A job that cannot be judged is counted, and makes the list incomplete.
                    report.errors += 1
                    report.not_understood += 1
                    _logger.exception("Cleanup: a job could not be judged; this is a bug")
            await self._delete(due, report)

    async def delete_listed(self, due: list[DueJob], report: JobsReport) -> JobsReport:
        """Delete the due jobs of an earlier list, if they are still due, and count them."""
        await self._delete(due, report)
        return report

    def judge_listed(
        self, job: JobView, policy_namespace: str, histories: "Histories", report: JobsReport
    ) -> list[DueJob]:
        """Judge a listed job for the policy of this namespace; return the jobs that are due."""
        report.examined += 1
        if report.seen is not None:
            report.seen.note(job)
        namespace = job.key.namespace
        is_over = job.status.is_finished and is_ours(job)
        if not is_over or self._policies.policy_namespace_of(namespace) != policy_namespace:
            return []
        return self._judge(job, histories.of(namespace), report)

    def _judge(self, job: JobView, history: History | None, report: JobsReport) -> list[DueJob]:
        verdict = self._remover.judge(job)
        if verdict.expired:
            return [job]
        self._remover.report_kept(job, verdict)
        if verdict.ahead:
            report.skipped[FINISHED_AHEAD] += 1
        elif self._remover.is_held(verdict):
            report.skipped[verdict.held_by] += 1
            if verdict.held_by == RECORD_HELD:
                self._enqueue(job.key)
        # A job that "finished" in the future would count as the newest, and displace newer ones.
        surplus = history.keep_newest(job) if history is not None and not verdict.ahead else None
        if history is None or surplus is None:
            return []
        return [Surplus(surplus.key, surplus.uid, history.inherited)]

    async def _delete(self, due: list[DueJob], report: JobsReport) -> None:
        """Delete these jobs with bounded concurrency."""
        waiting = iter(due)

        async def delete_in_turn() -> None:
            for each in waiting:
                await self._delete_one(each, report)

        await asyncio.gather(*(delete_in_turn() for _ in due[:MAX_CONCURRENT_DELETIONS]))

    async def _delete_one(self, due: DueJob, report: JobsReport) -> None:
        """Delete a job. A failure is counted, and does not stop the others."""
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
    """Holds the history of the current namespace: a list is ordered by namespaces."""

    def __init__(self, policies: PolicyIndex) -> None:
        self._policies: Final = policies
        self._namespace = ""
        self._history: History | None = None

    def of(self, namespace: str) -> History | None:
        """Return the history of this namespace; None: its rules are unknown."""
        if namespace != self._namespace:
            inherited = self._policies.inherited_by(namespace)
            self._namespace = namespace
            self._history = History(inherited) if inherited is not None else None
        return self._history
