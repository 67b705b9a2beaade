"""The metrics of retention."""

from datetime import UTC, datetime

import pytest

from trainingjob_operator.observability.metrics import Metrics
from trainingjob_operator.volume.sweep.rules import DiskSpace, VolumeReport

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return a sample; None: there is none."""
    return metrics.registry.get_sample_value(f"trainingjob_operator_{name}", labels)


def test_a_sweep_of_jobs_is_counted_by_reason() -> None:
    metrics = Metrics()
    for _ in range(2):
        metrics.gc.jobs_swept(skipped={"Pending": 2}, errors=0, seconds=0.2, at=NOW)
    assert value(metrics, "gc_skipped_total", sweep="jobs", reason="Pending") == 4
    assert value(metrics, "gc_errors_total", sweep="jobs") == 0
    assert value(metrics, "gc_duration_seconds_count", sweep="jobs") == 2
    last = value(metrics, "gc_last_success_timestamp_seconds", sweep="jobs")
    assert last == NOW.timestamp()


def test_a_sweep_of_the_volume_is_counted() -> None:
    metrics = Metrics()
    report = VolumeReport(
        files_removed=5, directories_removed=2, bytes_freed=4096, skipped={"Foreign": 1}
    )
    metrics.gc.volume_swept(report, seconds=1.5, at=NOW)
    assert value(metrics, "gc_files_removed_total") == 5
    assert value(metrics, "gc_directories_removed_total") == 2
    assert value(metrics, "gc_freed_bytes_total") == 4096
    assert value(metrics, "gc_skipped_total", sweep="volume", reason="Foreign") == 1
    assert value(metrics, "gc_duration_seconds_sum", sweep="volume") == 1.5


def test_a_skipped_volume_is_counted_by_reason_and_is_no_success() -> None:
    metrics = Metrics()
    metrics.gc.volume_skipped("JobsUnknown")
    assert value(metrics, "gc_skipped_total", sweep="volume", reason="JobsUnknown") == 1
    assert not value(metrics, "gc_last_success_timestamp_seconds", sweep="volume")


def test_a_sweep_with_errors_is_no_success() -> None:
    metrics = Metrics()
    metrics.gc.volume_swept(VolumeReport(errors=2), seconds=0, at=NOW)
    assert value(metrics, "gc_errors_total", sweep="volume") == 2
    assert not value(metrics, "gc_last_success_timestamp_seconds", sweep="volume")


@pytest.mark.parametrize("healthy", [False, None])
def test_a_volume_that_cannot_be_swept_is_no_success_though_nothing_failed(
    healthy: bool | None,
) -> None:
    metrics = Metrics()
    metrics.gc.volume_swept(VolumeReport(healthy=healthy), seconds=0, at=NOW)
    assert not value(metrics, "gc_last_success_timestamp_seconds", sweep="volume")
    metrics.gc.volume_swept(VolumeReport(healthy=True), seconds=0, at=NOW)
    last = value(metrics, "gc_last_success_timestamp_seconds", sweep="volume")
    assert last == NOW.timestamp()


def test_the_time_of_the_last_success_is_0_from_the_start() -> None:
    def last(metrics: Metrics, sweep: str) -> float | None:
        return value(metrics, "gc_last_success_timestamp_seconds", sweep=sweep)

    assert [last(Metrics(), sweep) for sweep in ("jobs", "volume")] == [0, None]
    with_volume = Metrics(has_volume=True)
    assert [last(with_volume, sweep) for sweep in ("jobs", "volume")] == [0, 0]


def test_the_size_of_the_volume_is_exposed_once_known_and_keeps_the_last_value() -> None:
    metrics = Metrics(has_volume=True)
    names = ("volume_size_bytes", "volume_free_bytes")
    metrics.gc.volume_swept(VolumeReport(), seconds=0, at=NOW)
    assert [value(metrics, name) for name in names] == [None, None]
    for room in (DiskSpace(100, 90), DiskSpace(200, 0), None):
        metrics.gc.volume_swept(VolumeReport(room=room), seconds=0, at=NOW)
    assert [value(metrics, name) for name in names] == [200, 0]


def test_an_invalid_reason_or_one_beyond_the_limit_gets_the_label_other() -> None:
    metrics = Metrics()
    many = {"job_2f1c/ml": 1, "x" * 100: 1} | {
        f"Reason{chr(97 + i % 26)}{chr(97 + i // 26)}": 1 for i in range(500)
    }
    metrics.gc.jobs_swept(skipped=many, errors=0, seconds=0, at=NOW)
    lines = metrics.render().decode().splitlines()
    skipped = [line for line in lines if line.startswith("trainingjob_operator_gc_skipped_total")]
    assert len(skipped) == 33
    assert value(metrics, "gc_skipped_total", sweep="jobs", reason="Other") == 502 - 32
    assert not [line for line in lines if "2f1c" in line]
