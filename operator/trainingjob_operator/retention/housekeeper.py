"""Runs the retention of one policy on each tick of its timer.

For the policy of a namespace it sweeps that namespace's jobs. For the default policy, in the
operator's namespace, it sweeps the jobs of all namespaces without a policy, logs the memory in use,
and sweeps the log volume. The result is written to the policy's status.

Runs are serialized, so that only one list is in memory at a time. A run that takes longer than the
interval skips the next one. No error stops the timer.

Bound: one run for each policy; counts not yet in a status are in `unreported`.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from trainingjob_api.errors import ConflictError, KubernetesError
from trainingjob_operator.clock import Clock
from trainingjob_operator.jobs.index_expiry import IndexExpiry
from trainingjob_operator.kube.cluster import Cluster
from trainingjob_operator.retention.clock_guard import ClockGuard
from trainingjob_operator.retention.job_sweep import JobsReport, JobSweep
from trainingjob_operator.retention.policy_index import PolicyIndex
from trainingjob_operator.retention.policy_status import Run, status_patch
from trainingjob_operator.retention.policy_watch import PolicyWatch
from trainingjob_operator.retention.startup_list import StartupList
from trainingjob_operator.retention.unreported_totals import UnreportedTotals
from trainingjob_operator.retention.volume_retention import (
    VolumeCounts,
    VolumeRetention,
)
from trainingjob_operator.settings import Settings
from trainingjob_operator.volume.sweep.rules import VolumeReport

_WRITES: Final = 4

_logger = logging.getLogger(__name__)


class Counts(VolumeCounts, Protocol):
    """Counts the runs; see `observability.metrics`."""

    def jobs_swept(
        self, *, skipped: Mapping[str, int], errors: int, seconds: float, at: datetime
    ) -> None:
        """Count a sweep of jobs."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Figures on the memory in use.

    Attributes:
        jobs: number of jobs in the index.
        active: number of them that have not finished.
        waiting: number of jobs whose records wait to be sent.
        resident_bytes: resident memory of the process.
    """

    jobs: int
    active: int
    waiting: int
    resident_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """The results of the sweeps for one policy.

    Attributes:
        jobs: the report of the sweep of its jobs.
        volume: the report of the sweep of the log volume; None: there was none.
        left_alone: the reason why the volume was not swept; "": it was, or there is none.
    """

    jobs: JobsReport
    volume: VolumeReport | None = None
    left_alone: str = ""


class Housekeeper:
    """Makes the runs; called by the timers of the policies."""

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
        volume: VolumeRetention | None,
    ) -> None:
        """Prepare.

        Args:
            settings: the interval and the namespaces.
            cluster: the client that writes the status of policies.
            policies: the index of policies.
            watch: lists the policies.
            sweep: deletes jobs.
            startup_list: the list of the start, for the first sweep of each policy.
            unreported: the counts that are in no status yet.
            guard: decides when deletions are paused.
            clock: the time.
            counts: the metrics.
            aging: evicts jobs from the index.
            memory: returns figures on the memory in use.
            volume: sweeps the log volume; None: there is none.
        """
        self.interval_s: Final = settings.gc.interval
        self._namespaces: Final = settings.namespaces or (None,)
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
        self._run_lock: Final = asyncio.Lock()
        self._runs: Final[set[asyncio.Task[None]]] = set()
        self.runs_total = 0
        self.overruns_total = 0

    async def tick(self, namespace: str) -> None:
        """Make one run for the policy of this namespace. Never raises.

        The run is a task of its own, which `stop` can cancel: when kopf ends it waits for a busy
        timer, and does not cancel it.
        """
        run = asyncio.create_task(self._tick(namespace), name=f"housekeeping-{namespace}")
        self._runs.add(run)
        try:
            await asyncio.wait({run})
        finally:
            run.cancel()
            self._runs.discard(run)

    async def stop(self) -> None:
        """Cancel all runs; the next process does the rest."""
        runs = tuple(self._runs)
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)

    async def _tick(self, namespace: str) -> None:
        clock, begun = self._clock, self._clock.monotonic()
        started_at = clock.now()
        _logger.info("Cleanup: run started%s", self._of(namespace))
        try:
            async with self._run_lock:
                if not self._guard.deletions_are_paused():
                    await self._run(namespace, started_at, begun)
        except Exception:
            _logger.exception("Cleanup: the run failed; this is a bug")
        self.runs_total += 1
        self._log_done(namespace, clock.monotonic() - begun)

    def _log_done(self, namespace: str, seconds: float) -> None:
        interval = wait = self.interval_s
        if seconds > interval:
            self.overruns_total += 1
            wait = self._intervals(seconds) * interval - seconds
            _logger.warning(
                "Cleanup: the run took %.0f s, longer than its interval of %g s; the runs that "
                "were due in the meantime are skipped",
                seconds,
                interval,
            )
        _logger.info(
            "Cleanup: done in %.1f s, next run in %.0f s%s", seconds, wait, self._of(namespace)
        )

    async def sweep(self, namespace: str) -> SweepResult:
        """Sweep the jobs of the policy of this namespace; for the default one, the volume as well.

        The caller must have listed the policies just before.
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

    async def _with_volume(
        self, namespace: str, jobs: JobsReport, listed_at: datetime
    ) -> SweepResult:
        if self._volume is None or not self._is_default(namespace):
            return SweepResult(jobs=jobs)
        result = await self._volume.run(jobs, jobs.listed_at or listed_at)
        return SweepResult(jobs=jobs, volume=result.report, left_alone=result.left_alone)

    async def _run(self, namespace: str, started_at: datetime, begun: float) -> None:
        listed_at = self._clock.now()
        jobs = await self._with_jobs(namespace)
        if self._is_default(namespace):
            self._log_memory()
        volume = (await self._with_volume(namespace, jobs, listed_at)).volume
        deleted = self._unreported.take_deleted(namespace)
        seconds = self._clock.monotonic() - begun
        until_next = timedelta(seconds=self._intervals(seconds) * self.interval_s)
        run = Run(
            started_at=started_at,
            seconds=seconds,
            next_at=started_at + until_next,
            jobs_deleted=deleted.total(),
            errors=jobs.errors + (volume.errors if volume is not None else 0),
            skipped=jobs.skipped,
            volume=volume,
            unreported_totals=self._unreported.sums_of(namespace),
        )
        if await self._write_status(namespace, run):
            self._unreported.forget_sums(namespace)
        else:
            self._unreported.add_deleted(namespace, deleted)
            self._unreported.keep_sums(namespace, run.totals_to_report())

    def _is_default(self, namespace: str) -> bool:
        return namespace == self._policies.default_namespace

    async def _sweep_jobs(self, namespace: str, *, is_listed: bool) -> JobsReport:
        if not self._is_default(namespace):
            if self._policies.policy_namespace_of(namespace) != namespace:
                return JobsReport()  # the policy cannot be parsed, and applies to no job
            return await self._sweep_by_list(namespace, (namespace,))
        try:
            if not is_listed:
                await self._watch.refresh()
        except KubernetesError as error:
            _logger.warning("Cleanup: cannot list RetentionPolicies: %s", error)
            return JobsReport(errors=1, not_listed=[str(error)])
        return await self._sweep_by_list(namespace, self._namespaces)

    async def _sweep_by_list(
        self, policy_namespace: str, namespaces: Sequence[str | None]
    ) -> JobsReport:
        """Sweep with the list of the start, or else with a new one of these namespaces."""
        if (first := self._startup_list.take(policy_namespace)) is not None:
            return await self._sweep.delete_listed(*first)
        remember = self._volume is not None and self._is_default(policy_namespace)
        return await self._sweep.run(
            namespaces, policy_namespace=policy_namespace, remember=remember
        )

    def _log_memory(self) -> None:
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

    async def _write_status(self, namespace: str, run: Run) -> bool:
        """Write the result to the policy's status; read the policy again after each conflict.

        Returns:
            True if it was written, or the policy no longer exists.
        """
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

    def _intervals(self, seconds: float) -> int:
        """Return the number of intervals from the start of a run to the next tick of the timer."""
        return max(math.ceil(seconds / self.interval_s), 1)

    def _of(self, namespace: str) -> str:
        """Return the namespace of the run for a log line; "" for the default policy."""
        return "" if self._is_default(namespace) else f" for {namespace}"
