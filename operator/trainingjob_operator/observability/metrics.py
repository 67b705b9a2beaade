"""Defines the metrics that are updated when something happens: retention sweeps and reconciler passes.

Label values come from small fixed sets. No name of a job, a namespace or a node is ever a label:
their number grows with use, and the registry would be the only structure in memory without a bound.

`collector` exports the numbers that components keep anyway, and reads them at each scrape.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from trainingjob_operator.volume.sweep.rules import DiskSpace, VolumeReport

PREFIX: Final = "trainingjob_operator_"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_PASS_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SWEEP_SECONDS: Final = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600)
_MAX_REASONS: Final = 32
_REASON: Final = re.compile(r"[A-Za-z][A-Za-z_-]{0,62}")
_OTHER: Final = "Other"

Sweep = Literal["jobs", "volume"]


class GcMetrics:
    """The metrics of retention: call the method of a sweep once at its end, successful or not."""

    def __init__(self, registry: CollectorRegistry, *, has_volume: bool) -> None:
        self._files: Final = Counter(
            f"{PREFIX}gc_files_removed",
            "Files that retention removed from the log volume.",
            registry=registry,
        )
        self._directories: Final = Counter(
            f"{PREFIX}gc_directories_removed",
            "Directories that retention removed from the log volume.",
            registry=registry,
        )
        self._bytes: Final = Counter(
            f"{PREFIX}gc_freed_bytes",
            "Bytes that retention freed on the log volume.",
            registry=registry,
        )
        self._errors: Final = Counter(
            f"{PREFIX}gc_errors",
            "Failed list, delete and file operations of retention, by sweep: jobs or volume.",
            ["sweep"],
            registry=registry,
        )
        self._skipped: Final = Counter(
            f"{PREFIX}gc_skipped",
            "Objects or files that retention kept, by sweep and reason; every sweep counts them again.",
            ["sweep", "reason"],
            registry=registry,
        )
        self._seconds: Final = Histogram(
            f"{PREFIX}gc_duration_seconds",
            "Duration of a sweep.",
            ["sweep"],
            buckets=_SWEEP_SECONDS,
            registry=registry,
        )
        self._last_success: Final = Gauge(
            f"{PREFIX}gc_last_success_timestamp_seconds",
            "Unix time of the last sweep without an error (of the volume: and with a healthy volume); 0: none yet.",
            ["sweep"],
            registry=registry,
        )
        self._reasons: Final[set[str]] = set()
        # Exported as 0 from the start: an alert on a missing first success needs the series.
        self._last_success.labels("jobs")
        if has_volume:
            self._last_success.labels("volume")
        self._registry: Final = registry
        self._room: tuple[Gauge, Gauge] | None = None

    def jobs_swept(
        self,
        *,
        skipped: Mapping[str, int],
        errors: int,
        seconds: float,
        at: datetime,
    ) -> None:
        """Count a finished sweep of jobs.

        Args:
            skipped: number of objects that were kept although they have expired, by reason (one of
                our words, like `Kept`).
            errors: number of deletions and lists that failed.
            seconds: duration of the sweep.
            at: wall clock time at its end.
        """
        self._ended("jobs", skipped=skipped, errors=errors, seconds=seconds, at=at)

    def volume_skipped(self, reason: str) -> None:
        """Count a sweep of the volume that was skipped, because the owner of its files is unknown."""
        self._skipped.labels("volume", self._known(reason)).inc()

    def volume_swept(self, report: VolumeReport, *, seconds: float, at: datetime) -> None:
        """Count a finished sweep of the volume.

        Args:
            report: result of the sweep.
            seconds: duration of the sweep.
            at: wall clock time at its end.
        """
        self._files.inc(report.files_removed)
        self._directories.inc(report.directories_removed)
        self._bytes.inc(report.bytes_freed)
        if report.room is not None:
            self._set_volume_size(report.room)
        self._ended(
            "volume",
            skipped=report.skipped,
            errors=report.errors,
            seconds=seconds,
            at=at if report.healthy else None,
        )

    def _set_volume_size(self, room: DiskSpace) -> None:
        if self._room is None:  # not exported before it is known: a 0 would mean a full volume
            self._room = (
                Gauge(
                    f"{PREFIX}volume_size_bytes",
                    "Size of the log volume's file system at its last sweep.",
                    registry=self._registry,
                ),
                Gauge(
                    f"{PREFIX}volume_free_bytes",
                    "Free bytes of the log volume at its last sweep.",
                    registry=self._registry,
                ),
            )
        size, free = self._room
        size.set(room.size_bytes)
        free.set(room.free_bytes)

    def _ended(
        self,
        sweep: Sweep,
        *,
        skipped: Mapping[str, int],
        errors: int,
        seconds: float,
        at: datetime | None,
    ) -> None:
        """Update the metrics that both sweeps have; `at` is None if the sweep is no success."""
        for reason, count in skipped.items():
            self._skipped.labels(sweep, self._known(reason)).inc(count)
        self._errors.labels(sweep).inc(errors)
        self._seconds.labels(sweep).observe(seconds)
        if not errors and at is not None:
            self._last_success.labels(sweep).set(at.timestamp())

    def _known(self, reason: str) -> str:
        """Return the reason as a label value: a valid word, and one of at most 32; else `Other`."""
        if reason not in self._reasons:
            if len(self._reasons) >= _MAX_REASONS or not _REASON.fullmatch(reason):
                return _OTHER
            self._reasons.add(reason)
        return reason


class Metrics:
    """The metrics of one operator, in a registry of its own: two in one process share no numbers.

    Attributes:
        registry: the registry, to which further collectors can be added.
        gc: metrics of retention.
        passes: durations of the reconciler's passes.
    """

    def __init__(self, *, has_volume: bool = False) -> None:
        self.registry: Final = CollectorRegistry()
        self.gc: Final = GcMetrics(self.registry, has_volume=has_volume)
        self.passes: Final = Histogram(
            f"{PREFIX}reconcile_duration_seconds",
            "Duration of one pass over one job, including the wait for the API server.",
            buckets=_PASS_SECONDS,
            registry=self.registry,
        )
        # Memory, CPU and open files of this process, under Prometheus' standard names.
        ProcessCollector(registry=self.registry)

    def render(self) -> bytes:
        """Return the metrics in the text format of Prometheus."""
        return generate_latest(self.registry)
