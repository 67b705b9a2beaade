"""Deletes one finished job whose time is over: decides about it as it was seen, and then acts.

The deletion names the job's uid and the very version that was decided on, so that the API server
compares it with what is stored: no read before it could say more. Whatever has happened since, a
longer time to live, a pin, a namesake, makes it fail. Then the job is read, and decided on anew.

Bound: `TOLD` jobs of which is remembered that it was said why they stay; of more than that at once
it is said again.
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
from trainingjob_operator.core.message_text import age
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
"""The longest appointment in memory; later ones belong to the sweep."""

CHANGED: Final = "Changed"
"""Why a job stays: it is not any more what it was when it was seen."""

TTL: Final = "TTL"
HISTORY: Final = "HistoryLimit"
"""Why a job was deleted: its time was over; there were so many newer ones."""

_LOOK_AGAIN_S: Final = 1.0
_CONFLICT_S: Final = 2.0
"""Seconds to the next look after two deletions that came too late."""

TOLD: Final = 2000
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Removal:
    """The result for a job that was to be deleted.

    Attributes:
        removed: it was deleted, by us.
        conflict: it changed between the look and the deletion, twice in a row.
        kept_by: why it stays, if it does; "": it is gone.
        verdict: what was decided last, if it was there.
    """

    removed: bool = False
    conflict: bool = False
    kept_by: str = ""
    verdict: Verdict | None = None


class Remover:
    """Shared by the reconciler, which deletes on time, and the sweep, which finds the rest.

    Attributes:
        removed_total: how many jobs were deleted, by reason.
        errors_total: how many deletions the API server did not take.
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
        """Delete nothing yet.

        Args:
            jobs: where jobs are.
            policies: says which policy holds for a job.
            events: where Events go.
            clock: the time.
            guard: knows when nothing may be deleted.
            unreported: takes what the status of a policy is to say.
            on_deleted: takes the key of a job that was deleted, and why.
            dry_run: deletes nothing, and calls `on_deleted` all the same.
        """
        self._jobs: Final = jobs
        self._policies: Final = policies
        self._events: Final = events
        self._clock: Final = clock
        self._guard: Final = guard
        self._told: Final[OrderedDict[tuple[str, str], None]] = OrderedDict()
        self._unreported: Final = unreported
        self._on_deleted: Final = on_deleted
        self._dry_run: Final = dry_run
        self.removed_total: Final[Counter[str]] = Counter({TTL: 0, HISTORY: 0})
        self.errors_total = 0

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit."""
        return (Bound("told_to_stay", len(self._told), TOLD),)

    def judge(self, job: JobView) -> Verdict:
        """Return the decision about a job, as it was seen."""
        inherited = self._policies.inherited_by(job.key.namespace)
        return judge(job, inherited, now=self._clock.now())

    def is_held(self, verdict: Verdict) -> bool:
        """True if a job is due and stays all the same."""
        return verdict.is_held(now=self._clock.now())

    async def when_finished(self, job: JobView) -> float | None:
        """Delete a job if its time is over.

        Returns:
            In how many seconds to look again; None: it is gone, or the sweep will find it.

        Raises:
            KubernetesError: it could not be read or deleted; try again later.
        """
        verdict = self.judge(job)
        if verdict.expired:
            if self._guard.deletions_are_paused():
                return self._guard.hold_s + _LOOK_AGAIN_S  # once it is surely over
            try:
                removal = await self.remove(job)
            except KubernetesError as error:
                if not error.permanent:
                    raise
                _logger.warning("Cleanup: cannot remove job %s: %s", job.key, error)
                return None  # a right is missing, or admission says no: the sweep asks again
            if removal.conflict:
                return _CONFLICT_S
            if removal.verdict is None:
                return None
            verdict = removal.verdict
        self.tell(job, verdict)
        return self._wait(verdict)

    async def remove(self, job: JobView) -> Removal:
        """Delete a job whose time is over, if that holds by now and it is still as it was seen.

        Raises:
            KubernetesError: it could not be deleted, or not be read after it had changed.
        """
        with self._counting_errors():
            removal = await self._remove(job)
            if not removal.conflict:
                return removal
            return await self._read_and_remove(job.key, job.uid)

    async def remove_surplus(self, key: JobKey, uid: str, by: Inherited) -> Removal:
        """Delete a job that is one too many, if that is still right when it is read.

        Args:
            key: the job's key.
            uid: of this very job.
            by: the rules by whose history limit it is; it goes only while they hold.

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
            return Removal()  # gone, or a namesake: its time is its own
        return await self._remove(job, surplus_by)

    async def _remove(self, job: JobView, surplus_by: Inherited | None = None) -> Removal:
        verdict = self.judge(job)
        if not verdict.expired and not self._is_surplus(job, surplus_by):
            return Removal(kept_by=verdict.held_by or CHANGED, verdict=verdict)
        if (
            self._guard.deletions_are_paused()
        ):  # asked after the judgement: a sweep takes time, too
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
            self._note(job, verdict, reason)
            self._on_deleted(job.key, reason)
        return Removal(removed=was_there)

    def _is_surplus(self, job: JobView, by: Inherited | None) -> bool:
        """True if it still is one too many: the policy may have been edited since."""
        if by is None or not counts_for_history(job):
            return False
        return self._policies.inherited_by(job.key.namespace) == by

    def tell(self, job: JobView, verdict: Verdict) -> None:
        """Say of a job, once, that it stays: it would be created again, or finished in the future."""
        if verdict.ahead and self._is_news(job, FINISHED_AHEAD):
            _logger.warning(
                "Cleanup: job %s says that it finished in the future, %s from now: a clock was "
                "ahead, or ours is behind; it is deleted that much later",
                job.key,
                age(verdict.ahead.total_seconds()),
            )
        if verdict.held_by == GITOPS and self.is_held(verdict) and self._is_news(job, GITOPS):
            self._tell_of_gitops(job)

    def _is_news(self, job: JobView, reason: str) -> bool:
        """True if that was not said of this job yet."""
        if (job.uid, reason) in self._told:
            return False
        self._told[job.uid, reason] = None
        if len(self._told) > TOLD:
            self._told.popitem(last=False)
        return True

    def _tell_of_gitops(self, job: JobView) -> None:
        message = (
            f"its time to live is over, but {job.gitops_owner} owns it and would create it again; "
            "set spec.ttlSecondsAfterFinished to have it deleted all the same"
        )
        self._events.record(job, Event(reason=REASON_NOT_DELETED, message=message))

    def _note(self, job: JobView, verdict: Verdict, reason: str) -> None:
        self.removed_total[reason] += 1
        ruler = self._policies.ruler_of(job.key.namespace)
        self._unreported.add_deleted(ruler, {reason: 1})
        ended_at = finished_at(job.status) or self._clock.now()
        old = age((self._clock.now() - ended_at).total_seconds())
        _logger.info(
            "Cleanup: removed job %s (%s, finished %s ago)", job.key, job.status.phase, old
        )
        why = f"as {verdict.rule} says" if reason == TTL else "to make room for newer ones"
        message = f"deleted {old} after it finished, {why}"
        self._events.record(job, Event(reason=REASON_EXPIRED, message=message))

    def _wait(self, verdict: Verdict) -> float | None:
        if verdict.due_at is None or verdict.held_by:
            return None
        wait = (verdict.due_at - self._clock.now()) / timedelta(seconds=1)
        return max(wait, 0.0) if wait <= LONGEST_WAIT_S else None
