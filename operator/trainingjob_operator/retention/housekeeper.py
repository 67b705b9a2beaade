"""One run of the housekeeping for one policy, once in an interval.

The policy of a namespace has that namespace's jobs swept. The default policy, in the operator's
namespace, has those of all namespaces without one swept, then the index aged, then the log volume
swept, once for all. How it went is written to the policy's status.

Runs wait for one another, so that two lists are never held at once, and a run that takes longer
than the interval skips the next one. Nothing that goes wrong ends the timer.

Bound: one run for each policy; what their statuses do not say yet is in `unreported`.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from trainingjob_api.constants import (
    REASON_CLOCK_STEPPED,
    REASON_IDENTITY_UNKNOWN,
    REASON_JOBS_UNKNOWN,
)
from trainingjob_api.errors import ConflictError, KubernetesError, VolumeError
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.untyped_json import as_dict, as_str
from trainingjob_operator.jobs.index_expiry import IndexExpiry
from trainingjob_operator.kube.cluster import Cluster
from trainingjob_operator.log_archive.log_volume import Sweep
from trainingjob_operator.retention.clock_guard import ClockGuard
from trainingjob_operator.retention.job_sweep import JobsReport, JobSweep, ListedJobs
from trainingjob_operator.retention.policy_index import PolicyIndex
from trainingjob_operator.retention.policy_status import Run, status_patch
from trainingjob_operator.retention.policy_watch import PolicyWatch
from trainingjob_operator.retention.startup_list import StartupList
from trainingjob_operator.retention.unreported_totals import UnreportedTotals
from trainingjob_operator.settings import Settings
from trainingjob_operator.volume.sweep.rules import LiveJobs, VolumeReport

_WRITES: Final = 4
_POLICY_UNKNOWN: Final = "PolicyUnknown"
"""Why the volume was left alone: the API server did not say whose volume it is."""

_logger = logging.getLogger(__name__)


class Counts(Protocol):
    """Counts the runs; see `observability.metrics`."""

    def jobs_swept(
        self, *, skipped: Mapping[str, int], errors: int, seconds: float, at: datetime
    ) -> None:
        """Count a sweep of jobs."""
        ...

    def volume_skipped(self, reason: str) -> None:
        """Count a sweep of the volume that did not begin."""
        ...

    def volume_swept(self, report: VolumeReport, *, seconds: float, at: datetime) -> None:
        """Count a sweep of the volume."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The numbers of what is in memory.

    Attributes:
        jobs: jobs in the index.
        active: those of them that have not finished.
        waiting: keys of jobs whose records wait.
        resident_bytes: memory of the process.
    """

    jobs: int
    active: int
    waiting: int
    resident_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """Counts of what was done for one policy.

    Attributes:
        jobs: how the sweep of its jobs went.
        volume: how that of the log volume went; None: there was none.
        left_alone: why the volume was left alone; "": it was not, or there is none.
    """

    jobs: JobsReport
    volume: VolumeReport | None = None
    left_alone: str = ""


class Housekeeper:
    """Does what is due when a policy's timer fires."""

    def __init__(
        self,
        settings: Settings,
        *,
        cluster: Cluster,
        policies: PolicyIndex,
        watch: PolicyWatch,
        sweep: JobSweep,
        startup_list: StartupList,
        unreported: UnreportedTotals,
        guard: ClockGuard,
        clock: Clock,
        counts: Counts,
        aging: IndexExpiry,
        memory: Callable[[], Memory],
        volume: Sweep | None,
        identify: Callable[[], Awaitable[None]],
        volume_fault: Callable[[], VolumeError | None],
    ) -> None:
        """Prepare.

        Args:
            settings: how often, whose jobs, and how long files stay.
            cluster: where the status of policies is written.
            policies: the policies that are known.
            watch: lists them.
            sweep: deletes jobs.
            startup_list: what a list at the start has shown, for the first sweep of each policy.
            unreported: what no status says yet.
            guard: knows when nothing may be deleted.
            clock: the time.
            counts: where numbers go.
            aging: forgets jobs in memory.
            memory: returns what is in memory.
            volume: sweeps the log volume; None: there is none.
            identify: reads anew who we are, or raises VolumeError: nothing is removed then.
            volume_fault: returns why logs could not be written to it when that was last tried.
        """
        self.interval_s: Final = settings.gc.interval
        self._namespaces: Final = settings.namespaces or (None,)
        self._files_default_s: Final = settings.volume.max_age
        self._cluster: Final = cluster
        self._policies: Final = policies
        self._watch: Final = watch
        self._sweep: Final = sweep
        self._startup_list: Final = startup_list
        self._unreported: Final = unreported
        self._guard: Final = guard
        self._clock: Final = clock
        self._counts: Final = counts
        self._aging: Final = aging
        self._memory: Final = memory
        self._volume: Final = volume
        self._identify: Final = identify
        self._volume_fault: Final = volume_fault
        self._turn: Final = asyncio.Lock()
        self._runs: Final[set[asyncio.Task[None]]] = set()
        self.runs_total = 0
        self.overruns_total = 0

    async def tick(self, namespace: str) -> None:
        """Make one run for the policy of this namespace. Never fails.

        In a task of its own: kopf waits for a timer that is busy when it ends, and cancels none.
        """
        run = asyncio.create_task(self._tick(namespace), name=f"housekeeping-{namespace}")
        self._runs.add(run)
        try:
            await asyncio.wait({run})
        finally:
            run.cancel()
            self._runs.discard(run)

    async def stop(self) -> None:
        """End what runs, in the middle if need be: the next process finds the rest."""
        runs = tuple(self._runs)
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)

    async def _tick(self, namespace: str) -> None:
        clock, begun = self._clock, self._clock.monotonic()
        started_at = clock.now()
        _logger.info("Cleanup: run started%s", self._of(namespace))
        try:
            async with self._turn:
                if not self._guard.deletions_are_paused():
                    await self._run(namespace, started_at, begun)
        except Exception:
            _logger.exception("Cleanup: the run failed; this is a bug")
        self.runs_total += 1
        self._say_done(namespace, clock.monotonic() - begun)

    def _say_done(self, namespace: str, seconds: float) -> None:
        interval = wait = self.interval_s
        if seconds > interval:
            self.overruns_total += 1
            wait = self._beats(seconds) * interval - seconds
            _logger.warning(
                "Cleanup: the run took %.0f s, longer than its interval of %g s; what was due "
                "meanwhile is skipped",
                seconds,
                interval,
            )
        _logger.info(
            "Cleanup: done in %.1f s, next run in %.0f s%s", seconds, wait, self._of(namespace)
        )

    async def sweep(self, namespace: str) -> Swept:
        """Delete what is due by the policy of this namespace; of the default one, files as well.

        The policies are those that the caller has just listed.
        """
        started_at = self._clock.now()
        jobs = await self._with_jobs(namespace, is_listed=True)
        return await self._with_volume(namespace, jobs, started_at)

    async def _with_jobs(self, namespace: str, *, is_listed: bool = False) -> JobsReport:
        begun = self._clock.monotonic()
        jobs = await self._sweep_jobs(namespace, is_listed=is_listed)
        self._counts.jobs_swept(
            skipped=jobs.skipped,
            errors=jobs.errors,
            seconds=self._clock.monotonic() - begun,
            at=self._clock.now(),
        )
        return jobs

    async def _with_volume(self, namespace: str, jobs: JobsReport, listed_at: datetime) -> Swept:
        if self._volume is None or not self._is_default(namespace):
            return Swept(jobs=jobs)
        return await self._sweep_volume(self._volume, jobs, jobs.listed_at or listed_at)

    async def _run(self, namespace: str, started_at: datetime, begun: float) -> None:
        listed_at = self._clock.now()
        jobs = await self._with_jobs(namespace)
        if self._is_default(namespace):
            self._say_memory()
        volume = (await self._with_volume(namespace, jobs, listed_at)).volume
        deleted = self._unreported.take_deleted(namespace)
        seconds = self._clock.monotonic() - begun
        until_next = timedelta(seconds=self._beats(seconds) * self.interval_s)
        run = Run(
            started_at=started_at,
            seconds=seconds,
            next_at=started_at + until_next,
            jobs_deleted=deleted.total(),
            errors=jobs.errors + (volume.errors if volume is not None else 0),
            skipped=jobs.skipped,
            volume=volume,
            untold=self._unreported.sums_of(namespace),
        )
        if await self._write_status(namespace, run):
            self._unreported.forget_sums(namespace)
        else:
            self._unreported.add_deleted(namespace, deleted)
            self._unreported.keep_sums(namespace, run.not_told())

    def _is_default(self, namespace: str) -> bool:
        return namespace == self._policies.default_namespace

    async def _sweep_jobs(self, namespace: str, *, is_listed: bool) -> JobsReport:
        if not self._is_default(namespace):
            if self._policies.ruler_of(namespace) != namespace:
                return JobsReport()  # it cannot be understood, and rules no job
            return await self._sweep_by_list(namespace, (namespace,))
        try:
            if not is_listed:
                await self._watch.refresh()
        except KubernetesError as error:
            _logger.warning("Cleanup: cannot list RetentionPolicies: %s", error)
            return JobsReport(errors=1, not_listed=[str(error)])
        return await self._sweep_by_list(namespace, self._namespaces)

    async def _sweep_by_list(self, ruler: str, namespaces: Sequence[str | None]) -> JobsReport:
        """Sweep by the list that was read at the start, or else by one of these namespaces."""
        if (first := self._startup_list.take(ruler)) is not None:
            return await self._sweep.delete_listed(*first)
        remember = self._volume is not None and self._is_default(ruler)
        return await self._sweep.run(namespaces, ruler=ruler, remember=remember)

    def _say_memory(self) -> None:
        forgotten = self._aging.take_forgotten()
        if forgotten:
            _logger.info("Cleanup: removed %d finished or suspended jobs from memory", forgotten)
        memory = self._memory()
        _logger.info(
            "Memory: %d jobs (%d active), %d cached persists, %.0f MiB resident",
            memory.jobs,
            memory.active,
            memory.waiting,
            memory.resident_bytes / 2**20,
        )

    async def _sweep_volume(self, volume: Sweep, jobs: JobsReport, listed_at: datetime) -> Swept:
        """Sweep the volume, if it is known which jobs there are: else nothing is concluded."""
        if not jobs.is_complete or jobs.seen is None:
            _logger.warning("Cleanup: the volume is left alone, because not all jobs were listed")
            self._counts.volume_skipped(REASON_JOBS_UNKNOWN)
            why = "not all jobs could be listed"
            return Swept(jobs=jobs, volume=_jobs_unknown(jobs), left_alone=why)
        if (
            self._guard.deletions_are_paused()
        ):  # since the list was begun: it is not of now any more
            _logger.warning("Cleanup: the volume is left alone, because the list of jobs is old")
            self._counts.volume_skipped(REASON_CLOCK_STEPPED)
            return Swept(jobs=jobs, left_alone="the clock was set by more than an hour meanwhile")
        begun, namespace = self._clock.monotonic(), self._policies.default_namespace
        try:
            raw = await self._cluster.get_policy(namespace)
        except KubernetesError as error:
            _logger.warning("Cleanup: the volume is left alone: %s", error)
            self._counts.volume_skipped(_POLICY_UNKNOWN)
            return Swept(jobs=jobs, left_alone=f"the default policy cannot be read: {error}")
        if raw is None:  # it is not known whose the volume is
            return Swept(jobs=jobs, left_alone="there is no default policy")
        try:
            await self._identify()
        except VolumeError as error:
            _logger.warning("Cleanup: the volume is left alone: %s", error)
            self._counts.volume_skipped(REASON_IDENTITY_UNKNOWN)
            unknown = VolumeReport(healthy=False, reason=error.reason, message=str(error))
            return Swept(jobs=jobs, volume=unknown, left_alone=str(error))
        volume_id = as_str(as_dict(raw.get("status")).get("volumeId")) or None
        live = _live(jobs.seen, listed_at, volume_id)
        jobs.seen = None
        report = await volume.sweep_in_thread(live, max_age_s=self._files_max_age_s())
        seconds = self._clock.monotonic() - begun
        self._counts.volume_swept(report, seconds=seconds, at=self._clock.now())
        _logger.info(
            "Cleanup: removed %d log files and %d directories (%d bytes)",
            report.files_removed,
            report.directories_removed,
            report.bytes_freed,
        )
        return Swept(jobs=jobs, volume=_with_fault(report, self._volume_fault()))

    def _files_max_age_s(self) -> float:
        policy = self._policies.get(self._policies.default_namespace)
        said = policy.rules.files_max_age_s if policy is not None else None
        return self._files_default_s if said is None else said

    async def _write_status(self, namespace: str, run: Run) -> bool:
        """Write how it went into the policy, if it is there. It may have been edited: read it again."""
        try:
            for _ in range(_WRITES):
                raw = await self._cluster.get_policy(namespace)
                if raw is None:
                    return True
                inherited = self._policies.inherited_by(namespace)
                patch = status_patch(raw, inherited, run, now=self._clock.now())
                try:
                    await self._cluster.patch_policy_status(namespace, patch)
                except ConflictError as error:
                    refused: KubernetesError = error
                    continue
                return True
        except KubernetesError as error:
            refused = error
        _logger.warning("Cleanup: cannot write the policy's status: %s", refused)
        return False

    def _beats(self, seconds: float) -> int:
        """After how many intervals from its beginning the timer fires again."""
        return max(math.ceil(seconds / self.interval_s), 1)

    def _of(self, namespace: str) -> str:
        """Name the policy of the run, unless it is the default one, of which there is one."""
        return "" if self._is_default(namespace) else f" for {namespace}"


def _with_fault(report: VolumeReport, fault: VolumeError | None) -> VolumeReport:
    """A volume that is full can be swept like any other, and is not healthy all the same."""
    if fault is None or not report.healthy:
        return report
    message = f"logs could not be written when that was last tried: {fault}"
    return replace(report, healthy=False, reason=fault.reason, message=message)


def _jobs_unknown(jobs: JobsReport) -> VolumeReport:
    """Return the report on a volume that is left alone because of this."""
    why = "; ".join(jobs.not_listed) or f"{jobs.not_understood} were not understood"
    message = f"nothing is removed while not all jobs can be listed: {why}"
    return VolumeReport(healthy=False, reason=REASON_JOBS_UNKNOWN, message=message)


def _live(seen: ListedJobs, listed_at: datetime, volume_id: str | None) -> LiveJobs:
    return LiveJobs(
        uids=frozenset(seen.uids),
        finished=seen.finished,
        kept=frozenset(seen.kept),
        listed_at=listed_at,
        volume_id=volume_id,
    )
