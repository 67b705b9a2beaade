"""Runs of retention, derived from counters that increase and are reset."""

from typing import Any

from trainingjob_console.samples.retention_runs import MAX_RUNS, RetentionRuns
from trainingjob_console.samples.series import Scrape, parse


def a_scrape(*, runs: int, jobs: int = 0, **kept: int) -> Scrape:
    """Return the scrape of an operator after so many runs."""
    lines = [
        "# TYPE trainingjob_operator_gc_runs counter",
        f"trainingjob_operator_gc_runs_total {runs}",
        "# TYPE trainingjob_operator_gc_objects_deleted counter",
        f'trainingjob_operator_gc_objects_deleted_total{{reason="Expired"}} {jobs}',
        "# TYPE trainingjob_operator_gc_skipped counter",
    ]
    lines += [
        f'trainingjob_operator_gc_skipped_total{{reason="{reason}",sweep="jobs"}} {count}'
        for reason, count in kept.items()
    ]
    return parse("\n".join([*lines, ""]))


def of(sweeps: RetentionRuns) -> list[tuple[Any, ...]]:
    """Return for each entry: runs, removed jobs, skipped objects and the reasons."""
    return [
        (each["runs"], each["jobs"], each["kept"], each["why"]) for each in sweeps.newest_first
    ]


def test_each_run_has_the_counts_since_the_run_before() -> None:
    sweeps = RetentionRuns()
    sweeps.update(1.0, a_scrape(runs=3, jobs=5, annotated=7))
    assert of(sweeps) == []
    sweeps.update(2.0, a_scrape(runs=3, jobs=6, annotated=7))  # on time, between two runs
    sweeps.update(3.0, a_scrape(runs=4, jobs=8, annotated=9, waiting=1))
    sweeps.update(4.0, a_scrape(runs=6, jobs=8, annotated=13, waiting=1))
    assert of(sweeps) == [(2, 0, 4, {"annotated": 4}), (1, 3, 3, {"annotated": 2, "waiting": 1})]
    assert [each["time"] for each in sweeps.newest_first] == [
        "1970-01-01T00:00:04Z",
        "1970-01-01T00:00:03Z",
    ]


def test_counters_of_a_restarted_operator_are_not_negative_runs() -> None:
    sweeps = RetentionRuns()
    sweeps.update(1.0, a_scrape(runs=9, jobs=90))
    sweeps.update(2.0, {})
    sweeps.update(3.0, a_scrape(runs=1, jobs=2))
    sweeps.update(4.0, a_scrape(runs=2, jobs=3))
    assert of(sweeps) == [(1, 1, 0, {})]


def test_the_oldest_runs_are_evicted() -> None:
    sweeps = RetentionRuns()
    for runs in range(MAX_RUNS + 5):
        sweeps.update(float(runs), a_scrape(runs=runs))
    assert len(sweeps.newest_first) == MAX_RUNS
    assert sweeps.newest_first[0]["time"] == "1970-01-01T00:01:44Z"
