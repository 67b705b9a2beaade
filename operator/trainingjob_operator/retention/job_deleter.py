"""Deletes one expired finished job, with its uid and resourceVersion as preconditions.

The API server compares the preconditions with the stored job, so no read is needed first. If the
job has changed since it was judged (a longer time to live, the keep annotation, another job of the
same name), the deletion fails with a conflict. Then the job is read and judged again.

Bound: `MAX_REPORTED` jobs whose reason for being kept was already reported; beyond that the oldest are
evicted, and may be reported again.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from trainingjob_api.constants import (
    REASON_CLOCK_STEPPED,
    REASON_EXPIRED,
    REASON_NOT_DELETED,
)
from trainingjob_api.errors import ConflictError, KubernetesError
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.bounded import Bound
from trainingjob_operator.core.decision import Event
from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.core.message_text import format_age
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.core.retention import (
    FINISHED_AHEAD,
    GITOPS,
    Inherited,
    Verdict,
    counts_for_history,
    finished_at,
    judge,
)
from trainingjob_operator.jobs.protocols import Recorder
from trainingjob_operator.kube.cluster import Cluster
from trainingjob_operator.retention.clock_guard import ClockGuard
from trainingjob_operator.retention.policy_index import PolicyIndex
from trainingjob_operator.retention.unreported_totals import UnreportedTotals

LONGEST_WAIT_S: Final = 3600.0
"""The longest delay of a key in the queue; jobs that expire later are found by the sweep."""

CHANGED: Final = "Changed"
"""Reason to keep a job: it has changed since it was judged."""

TTL: Final = "TTL"
HISTORY: Final = "HistoryLimit"
"""Reasons for a deletion: the time to live is over; the history limit is exceeded."""

_RECHECK_S: Final = 1.0
_CONFLICT_S: Final = 2.0
"""Seconds until the next attempt, after two conflicts."""

MAX_REPORTED: Final = 2000
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Removal:
    """The result of an attempt to delete a job.

    Attributes:
        removed: whether we have deleted it.
        conflict: whether it changed between the decision and the deletion, twice in a row.
        kept_by: the reason why it was kept; "": it no longer exists.
        verdict: the last verdict, if the job existed.
    """

    removed: bool = False
    conflict: bool = False
    kept_by: str = ""
    verdict: Verdict | None = None


class JobDeleter:
    """Deletes jobs for the reconciler, on time, and for the sweep, which finds the rest.

    Attributes:
        removed_total: number of deleted jobs, by reason.
        errors_total: number of failed reads and deletions.
    """

    def __init__(
        self,
        jobs: Cluster,
        policies: PolicyIndex,
        events: Recorder,
        clock: Clock,
        guard: ClockGuard,
        *,
        unreported: UnreportedTotals,
        on_deleted: Callable[[JobKey, str], object] = lambda key, reason: None,
        dry_run: bool = False,
    ) -> None:
        """Prepare; nothing is deleted yet.

        Args:
            jobs: the client that reads and deletes jobs.
            policies: decides which policy applies to a job.
            events: the recorder of Events.
            clock: the time.
            guard: decides when deletions are paused.
            unreported: counts deletions for the status of policies.
            on_deleted: called with the key of a deleted job and the reason.
            dry_run: delete nothing, but call `on_deleted`.
        """
        self._jobs: Final = jobs
        self._policies: Final = policies
        self._events: Final = events
        self._clock: Final = clock
        self._guard: Final = guard
        self._reported: Final[OrderedDict[tuple[str, str], None]] = OrderedDict()
        self._unreported: Final = unreported
        self._on_deleted: Final = on_deleted
        self._dry_run: Final = dry_run
        self.removed_total: Final[Counter[str]] = Counter({TTL: 0, HISTORY: 0})
        self.errors_total = 0

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit."""
        return (Bound("told_to_stay", len(self._reported), MAX_REPORTED),)

    def judge(self, job: JobView) -> Verdict:
        """Return the verdict about a job as it was seen."""
        inherited = self._policies.inherited_by(job.key.namespace)
        return judge(job, inherited, now=self._clock.now())

    def is_held(self, verdict: Verdict) -> bool:
        """True if a job is due, but something keeps it."""
        return verdict.is_held(now=self._clock.now())

    async def when_finished(self, job: JobView) -> float | None:
        """Delete a finished job if it has expired.

        Returns:
            The seconds until the next check; None: it was deleted, or is left to the sweep.

        Raises:
            KubernetesError: it could not be read or deleted; try again later.
        """
        verdict = self.judge(job)
        if verdict.expired:
            if self._guard.deletions_are_paused():
                return self._guard.hold_s + _RECHECK_S  # the pause is over by then
            try:
                removal = await self.remove(job)
            except KubernetesError as error:
                if not error.permanent:
                    raise
                _logger.warning("Cleanup: cannot remove job %s: %s", job.key, error)
                return None  # forbidden, or denied by admission: the sweep tries again
            if removal.conflict:
                return _CONFLICT_S
            if removal.verdict is None:
                return None
            verdict = removal.verdict
        self.report_kept(job, verdict)
        return self._wait(verdict)

    async def remove(self, job: JobView) -> Removal:
        """Delete an expired job; after a conflict read it, judge it again, and try once more.

        Raises:
            KubernetesError: it could not be deleted, or not be read after a conflict.
        """
        with self._counting_errors():
            removal = await self._remove(job)
            if not removal.conflict:
                return removal
            return await self._read_and_remove(job.key, job.uid)

    async def remove_surplus(self, key: JobKey, uid: str, by: Inherited) -> Removal:
        """Delete a job that exceeds a history limit, if that is still true when it is read.

        Args:
            key: the job's key.
            uid: the job's uid.
            by: the rules with the history limit; it is deleted only if they still apply.

        Raises:
            KubernetesError: it could not be read or deleted.
        """
        with self._counting_errors():
            return await self._read_and_remove(key, uid, by)

    @contextmanager
    def _counting_errors(self) -> Iterator[None]:
        try:
            yield
        except KubernetesError:
            self.errors_total += 1
            raise

    async def _read_and_remove(
        self, key: JobKey, uid: str, surplus_by: Inherited | None = None
    ) -> Removal:
        raw = await self._jobs.get_job(key)
        job = job_view(raw) if raw is not None else None
        if job is None or job.uid != uid:
            return Removal()  # deleted, or replaced by another job of the same name
        return await self._remove(job, surplus_by)

    async def _remove(self, job: JobView, surplus_by: Inherited | None = None) -> Removal:
        verdict = self.judge(job)
        if not verdict.expired and not self._is_surplus(job, surplus_by):
            return Removal(kept_by=verdict.held_by or CHANGED, verdict=verdict)
        # Checked after the verdict: the sweep that lists the jobs takes time, too.
        if self._guard.deletions_are_paused():
            return Removal(kept_by=REASON_CLOCK_STEPPED, verdict=verdict)
        return await self._delete(job, verdict)

    async def _delete(self, job: JobView, verdict: Verdict) -> Removal:
        reason = TTL if verdict.expired else HISTORY
        if self._dry_run:
            self._on_deleted(job.key, reason)
            return Removal()
        try:
            was_there = await self._jobs.delete_finished_job(job)
        except ConflictError:
            return Removal(conflict=True, kept_by=CHANGED, verdict=verdict)
        if was_there:
            self._count_and_report(job, verdict, reason)
            self._on_deleted(job.key, reason)
        return Removal(removed=was_there)

    def _is_surplus(self, job: JobView, by: Inherited | None) -> bool:
        """True if it still exceeds the history limit: the policy may have been edited since."""
        if by is None or not counts_for_history(job):
            return False
        return self._policies.inherited_by(job.key.namespace) == by

    def report_kept(self, job: JobView, verdict: Verdict) -> None:
        """Report once why a job is kept: a GitOps tool owns it, or it finished in the future."""
        if verdict.ahead and self._is_first_report(job, FINISHED_AHEAD):
            _logger.warning(
                "Cleanup: the completion time of job %s is in the future, %s from now: a clock was "
                "ahead, or ours is behind; the job is deleted that much later",
                job.key,
                format_age(verdict.ahead.total_seconds()),
            )
        if (
            verdict.held_by == GITOPS
            and self.is_held(verdict)
            and self._is_first_report(job, GITOPS)
        ):
            self._report_gitops(job)

    def _is_first_report(self, job: JobView, reason: str) -> bool:
        """True if this was not reported for this job yet."""
        if (job.uid, reason) in self._reported:
            return False
        self._reported[job.uid, reason] = None
        if len(self._reported) > MAX_REPORTED:
            self._reported.popitem(last=False)
        return True

    def _report_gitops(self, job: JobView) -> None:
        message = (
            f"its time to live is over, but {job.gitops_owner} owns it and would create it again; "
            "to delete it anyway, set spec.ttlSecondsAfterFinished"
        )
        self._events.record(job, Event(reason=REASON_NOT_DELETED, message=message))

    def _count_and_report(self, job: JobView, verdict: Verdict, reason: str) -> None:
        self.removed_total[reason] += 1
        policy_namespace = self._policies.policy_namespace_of(job.key.namespace)
        self._unreported.add_deleted(policy_namespace, {reason: 1})
        ended_at = finished_at(job.status) or self._clock.now()
        old = format_age((self._clock.now() - ended_at).total_seconds())
        _logger.info(
            "Cleanup: removed job %s (%s, finished %s ago)", job.key, job.status.phase, old
        )
        why = f"as set by {verdict.rule}" if reason == TTL else "because of the history limit"
        message = f"deleted {old} after it finished, {why}"
        self._events.record(job, Event(reason=REASON_EXPIRED, message=message))

    def _wait(self, verdict: Verdict) -> float | None:
        if verdict.due_at is None or verdict.held_by:
            return None
        wait = (verdict.due_at - self._clock.now()) / timedelta(seconds=1)
        return max(wait, 0.0) if wait <= LONGEST_WAIT_S else None
