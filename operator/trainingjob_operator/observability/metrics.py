"""What the operator counts, for `/metrics`. Labels have few values, all of them ours.

No name of a job, a namespace or a node is ever a label: what there is of them grows with use, and
would make this the one structure in memory without a bound.

Numbers that the operator's parts keep anyway are read from them when somebody asks (`collector`).
Here is what has to be noted at the moment at which it happens.
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
    """Counts of retention: call the method of a sweep once at its end, however it ended."""

    def __init__(self, registry: CollectorRegistry, *, has_volume: bool) -> None:
        self._files: Final = Counter(
            f"{PREFIX}gc_files_removed",
            "Files that the housekeeping removed from the volume.",
            registry=registry,
        )
        self._directories: Final = Counter(
            f"{PREFIX}gc_directories_removed",
            "Directories that the housekeeping removed from the volume.",
            registry=registry,
        )
        self._bytes: Final = Counter(
            f"{PREFIX}gc_freed_bytes",
            "Bytes that the housekeeping freed on the volume.",
            registry=registry,
        )
        self._errors: Final = Counter(
            f"{PREFIX}gc_errors",
            "What the housekeeping could not do, by sweep: jobs or volume.",
            ["sweep"],
            registry=registry,
        )
        self._skipped: Final = Counter(
            f"{PREFIX}gc_skipped",
            "What the housekeeping left alone, by sweep and reason, counted anew by every sweep.",
            ["sweep", "reason"],
            registry=registry,
        )
        self._seconds: Final = Histogram(
            f"{PREFIX}gc_duration_seconds",
            "Time that a sweep took.",
            ["sweep"],
            buckets=_SWEEP_SECONDS,
            registry=registry,
        )
        self._last_success: Final = Gauge(
            f"{PREFIX}gc_last_success_timestamp_seconds",
            "When a sweep last ended without an error, of a volume that is healthy; 0: not yet.",
            ["sweep"],
            registry=registry,
        )
        self._reasons: Final[set[str]] = set()
        # From the start: an alert that waits for the first success has to see that there is none.
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
        """A sweep of jobs has ended.

        Args:
            skipped: objects that stay although their time is over, by reason: a word of ours, like
                `Kept`.
            errors: deletions and lists that failed.
            seconds: how long it took.
            at: the wall clock at its end.
        """
        self._ended("jobs", skipped=skipped, errors=errors, seconds=seconds, at=at)

    def volume_left_alone(self, reason: str) -> None:
        """There was no sweep of the volume, because it is not known whose files those are."""
        self._skipped.labels("volume", self._known(reason)).inc()

    def volume_swept(self, report: VolumeReport, *, seconds: float, at: datetime) -> None:
        """A sweep of the volume has ended.

        Args:
            report: what it did.
            seconds: how long it took.
            at: the wall clock at its end.
        """
        self._files.inc(report.files_removed)
        self._directories.inc(report.directories_removed)
        self._bytes.inc(report.bytes_freed)
        if report.room is not None:
            self._show(report.room)
        self._ended(
            "volume",
            skipped=report.skipped,
            errors=report.errors,
            seconds=seconds,
            at=at if report.healthy else None,
        )

    def _show(self, room: DiskSpace) -> None:
        if self._room is None:  # no 0 before it is known: that would be a full volume
            self._room = (
                Gauge(
                    f"{PREFIX}volume_size_bytes",
                    "Size of the log volume's file system, when it was last swept.",
                    registry=self._registry,
                ),
                Gauge(
                    f"{PREFIX}volume_free_bytes",
                    "What could still be written to the log volume, when it was last swept.",
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
        """Count what every sweep has; `at` is None if it cannot be called a success."""
        for reason, count in skipped.items():
            self._skipped.labels(sweep, self._known(reason)).inc(count)
        self._errors.labels(sweep).inc(errors)
        self._seconds.labels(sweep).observe(seconds)
        if not errors and at is not None:
            self._last_success.labels(sweep).set(at.timestamp())

    def _known(self, reason: str) -> str:
        """The reason as a label: a word, and one of not too many; anything else is one label."""
        if reason not in self._reasons:
            if len(self._reasons) >= _MAX_REASONS or not _REASON.fullmatch(reason):
                return _OTHER
            self._reasons.add(reason)
        return reason


class Metrics:
    """A registry of its own, so that two operators in one process do not share numbers.

    Attributes:
        registry: where further collectors are registered.
        gc: what the housekeeping did.
        passes: how long the reconciler's passes took.
    """

    def __init__(self, *, has_volume: bool = False) -> None:
        self.registry: Final = CollectorRegistry()
        self.gc: Final = GcMetrics(self.registry, has_volume=has_volume)
        self.passes: Final = Histogram(
            f"{PREFIX}reconcile_duration_seconds",
            "Time that one pass over one job took, the waiting for the API server included.",
            buckets=_PASS_SECONDS,
            registry=self.registry,
        )
        # Memory, CPU and open files of this process, under the names that everybody knows.
        ProcessCollector(registry=self.registry)

    def render(self) -> bytes:
        """In the text format of Prometheus."""
        return generate_latest(self.registry)
