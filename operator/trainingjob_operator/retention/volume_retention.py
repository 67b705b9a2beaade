"""Applies the retention to the log volume: sweeps it only if all jobs, and the volume's owner, are known.

Files are removed because their jobs no longer exist. So an incomplete or old list of jobs, an
unknown owner or an unknown id of the volume prevent the sweep.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

from trainingjob_api.constants import (
    REASON_CLOCK_STEPPED,
    REASON_IDENTITY_UNKNOWN,
    REASON_JOBS_UNKNOWN,
)
from trainingjob_api.errors import KubernetesError, VolumeError
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.untyped_json import as_dict, as_str
from trainingjob_operator.kube.cluster import Cluster
from trainingjob_operator.log_archive.log_volume import Sweep
from trainingjob_operator.retention.clock_guard import ClockGuard
from trainingjob_operator.retention.job_sweep import JobsReport
from trainingjob_operator.retention.policy_index import PolicyIndex
from trainingjob_operator.volume.sweep.rules import LiveJobs, VolumeReport

_POLICY_UNKNOWN: Final = "PolicyUnknown"
"""Reason for not sweeping the volume: the policy with the volume's id could not be read."""

_logger = logging.getLogger(__name__)


class VolumeCounts(Protocol):
    """Counts the sweeps of the volume; see `observability.metrics`."""

    def volume_skipped(self, reason: str) -> None:
        """Count a sweep of the volume that was not started."""
        ...

    def volume_swept(self, report: VolumeReport, *, seconds: float, at: datetime) -> None:
        """Count a sweep of the volume."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeResult:
    """The result of one run.

    Attributes:
        report: for the policy's status; None: the status of the volume does not change.
        left_alone: the reason why the volume was not swept; "": it was, or there is none.
    """

    report: VolumeReport | None = None
    left_alone: str = ""


class VolumeRetention:
    """Sweeps the volume of the default policy; called by the housekeeper."""

    def __init__(
        self,
        sweep: Sweep,
        *,
        default_max_age_s: float,
        cluster: Cluster,
        policies: PolicyIndex,
        guard: ClockGuard,
        clock: Clock,
        counts: VolumeCounts,
        identify: Callable[[], Awaitable[None]],
        last_write_error: Callable[[], VolumeError | None],
    ) -> None:
        """Prepare.

        Args:
            sweep: sweeps the volume.
            default_max_age_s: maximum age of files in seconds, unless the default policy sets one.
            cluster: the client that reads the default policy.
            policies: the index of policies.
            guard: decides when deletions are paused.
            clock: the time.
            counts: the metrics.
            identify: reads this install's identity again; if it raises VolumeError, nothing is
                removed.
            last_write_error: returns the error of the last attempt to write a log to the volume.
        """
        self._sweep: Final = sweep
        self._default_max_age_s: Final = default_max_age_s
        self._cluster: Final = cluster
        self._policies: Final = policies
        self._guard: Final = guard
        self._clock: Final = clock
        self._counts: Final = counts
        self._identify: Final = identify
        self._last_write_error: Final = last_write_error

    async def run(self, jobs: JobsReport, listed_at: datetime) -> VolumeResult:
        """Sweep the volume, unless something is unknown that decides which files are removed.

        Args:
            jobs: the report of the jobs' sweep; its `seen` is released.
            listed_at: the time before which the list of jobs began.
        """
        if not jobs.is_complete or jobs.seen is None:
            why = "not all jobs could be listed"
            return self._leave_alone(why, REASON_JOBS_UNKNOWN, _jobs_unknown(jobs))
        if self._guard.deletions_are_paused():  # since the start of the list
            why = "the clock was set by more than an hour, or the process stood still"
            return self._leave_alone(why, REASON_CLOCK_STEPPED)
        begun = self._clock.monotonic()
        try:
            policy = await self._cluster.get_policy(self._policies.default_namespace)
        except KubernetesError as error:
            why = f"the default policy cannot be read: {error}"
            return self._leave_alone(why, _POLICY_UNKNOWN)
        if policy is None:  # the id of the volume is unknown
            return VolumeResult(left_alone="there is no default policy")
        try:
            await self._identify()
        except VolumeError as error:
            unknown = VolumeReport(healthy=False, reason=error.reason, message=str(error))
            return self._leave_alone(str(error), REASON_IDENTITY_UNKNOWN, unknown)
        live = LiveJobs(
            uids=frozenset(jobs.seen.uids),
            finished=jobs.seen.finished,
            kept=frozenset(jobs.seen.kept),
            listed_at=listed_at,
            volume_id=as_str(as_dict(policy.get("status")).get("volumeId")) or None,
        )
        jobs.seen = None
        return await self._remove_files(live, begun)

    async def _remove_files(self, live: LiveJobs, begun: float) -> VolumeResult:
        report = await self._sweep.sweep_in_thread(live, max_age_s=self._max_age_s())
        seconds = self._clock.monotonic() - begun
        self._counts.volume_swept(report, seconds=seconds, at=self._clock.now())
        _logger.info(
            "Cleanup: removed %d log files and %d directories (%d bytes)",
            report.files_removed,
            report.directories_removed,
            report.bytes_freed,
        )
        return VolumeResult(report=_with_write_error(report, self._last_write_error()))

    def _leave_alone(
        self, why: str, reason: str, report: VolumeReport | None = None
    ) -> VolumeResult:
        _logger.warning("Cleanup: the volume is left alone: %s", why)
        self._counts.volume_skipped(reason)
        return VolumeResult(report=report, left_alone=why)

    def _max_age_s(self) -> float:
        policy = self._policies.get(self._policies.default_namespace)
        max_age_s = policy.rules.files_max_age_s if policy is not None else None
        return self._default_max_age_s if max_age_s is None else max_age_s


def _with_write_error(report: VolumeReport, error: VolumeError | None) -> VolumeReport:
    """Report a volume as unhealthy if logs cannot be written to it: a full one can be swept."""
    if error is None or not report.healthy:
        return report
    message = f"the last attempt to write a log failed: {error}"
    return replace(report, healthy=False, reason=error.reason, message=message)


def _jobs_unknown(jobs: JobsReport) -> VolumeReport:
    """Return the report for a volume that is not swept because not all jobs were listed."""
    why = "; ".join(jobs.not_listed) or f"{jobs.not_understood} could not be parsed"
    message = f"nothing is removed while not all jobs can be listed: {why}"
    return VolumeReport(healthy=False, reason=REASON_JOBS_UNKNOWN, message=message)
