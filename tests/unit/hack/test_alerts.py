"""Tests of the operator's alerts with `promtool test rules`: each fires when it should, and only then."""

import re
import subprocess
from pathlib import Path

import pytest

from hack.monitoring.alert import P
from hack.monitoring.alerts import ALERTS
from hack.monitoring.record_alerts import RECORD_SERVICE, R
from tests.support.monitoring.alert_cases import (
    EVER,
    FIRING,
    HEALTHY,
    RULES,
    STEP,
    STEPS,
    Case,
    alternating,
    bound_usage,
    changed_recently,
    check,
    check_cases,
    constant,
    constant_age,
    increasing,
    metric,
    started_recently,
)
from tests.support.monitoring.prometheus import find_program
from tests.support.repository import ROOT

JOBS, VOLUME = 'sweep="jobs"', 'sweep="volume"'
CASES = [
    Case("TrainingJobOperatorAbsent"),
    Case("TrainingJobOperatorNoLeader", {metric("leader"): constant(0)}),
    Case(
        "TrainingJobOperatorManyLeaders",
        {
            metric("leader", pod="b"): constant(1),
            metric("gc_last_success_timestamp_seconds", 'sweep="jobs"', "b"): constant_age(60),
        },
    ),
    Case(
        "TrainingJobOperatorLeaderFlapping",
        {
            metric("leader"): alternating(1, 0, minutes=20),  # three hand-overs in each hour
            metric("leader", pod="b"): alternating(0, 1, minutes=20),
            metric("gc_last_success_timestamp_seconds", 'sweep="jobs"', "b"): constant_age(60),
        },
    ),
    Case(
        "TrainingJobOperatorLeaderFlapping",  # each leader's pod ends, and the next one takes over
        {
            metric("leader"): f"1x{STEPS - 21} stale",
            metric("leader", pod="b"): f"0x{STEPS - 21} 1x6 stale",
            metric("leader", pod="c"): f"0x{STEPS - 14} 1x6 stale",
            metric("leader", pod="d"): f"0x{STEPS - 7} 1x6",
        },
    ),
    Case(
        "TrainingJobOperatorRestarting",
        {
            metric("process_start_time_seconds", pod="b"): alternating(*range(24), minutes=10),
        },
    ),
    Case("TrainingJobOperatorNotReady", {metric("ready", pod="b"): constant(0)}),
    Case(
        "TrainingJobOperatorWatchSilent",
        {metric("api_requests_total", 'verb="watch",code="2xx"'): constant(30)},
    ),
    Case("TrainingJobOperatorMemoryHigh", {metric("memory_used_bytes"): constant(91)}),
    Case("TrainingJobOperatorMemoryPressure", {metric("memory_pressure"): constant(1)}),
    Case(
        "TrainingJobOperatorApiErrors",
        {metric("api_requests_total", 'verb="get",code="none"'): increasing(10)},
    ),
    Case("TrainingJobOperatorRightsMissing", {metric("lists_forbidden"): constant(1)}),
    Case("TrainingJobOperatorReconcileErrors", {metric("reconcile_errors_total"): increasing(12)}),
    Case(
        "TrainingJobOperatorStuck",
        {metric("reconciles_total"): constant(500), metric("reconcile_errors_total"): constant(0)},
    ),
    Case("TrainingJobOperatorIndexFull", bound_usage("index", 18_001, 20_000)),
    Case("TrainingJobOperatorIndexFull", bound_usage("pods", 99_000, 100_000)),
    Case("TrainingJobOperatorQueueFull", bound_usage("log_queue", 9_500, 10_000)),
    Case("TrainingJobRecordEndpointDown", {metric("record_endpoint_down"): constant(1)}),
    Case("TrainingJobRecordsWaiting", bound_usage("retry_cache", 1000, 1000)),
    Case(
        "TrainingJobRecordsRejected",
        {metric("records_rejected_total"): changed_recently(0, 1)},
    ),
    Case(
        "TrainingJobRecordsAbandoned",
        {metric("records_abandoned_total"): changed_recently(0, 1)},
    ),
    # A new pod counted before its first scrape, beside one that has lost something days ago.
    Case(
        "TrainingJobRecordsRejected",
        {metric("records_rejected_total", pod="b"): started_recently(2)},
    ),
    Case(
        "TrainingJobRecordsAbandoned",
        {metric("records_abandoned_total", pod="b"): started_recently(1)},
    ),
    Case(
        "TrainingJobRecordsAbandoned",  # it was started again since, and then it was deleted
        {metric("records_abandoned_total", pod="b"): f"_x{STEPS - 16} 1 0x3 stale"},
    ),
    Case(
        "TrainingJobFinishedJobsStuck",
        {metric("gc_skipped_total", f'{JOBS},reason="LogsPending"'): increasing(0.1)},
    ),
    Case(
        "TrainingJobHousekeepingLate",
        {metric("gc_last_success_timestamp_seconds", VOLUME): constant_age(3400)},
    ),
    Case(
        "TrainingJobHousekeepingLate",  # none has succeeded since the start
        {metric("gc_last_success_timestamp_seconds", JOBS): constant(0)},
    ),
    Case(
        "TrainingJobHousekeepingHeld",
        {metric("gc_holds_total", 'cause="ClockStepped"'): changed_recently(0, 1)},
    ),
    Case(
        "TrainingJobHousekeepingHeld",
        {metric("gc_holds_total", 'cause="ClockStepped"'): started_recently(1)},
    ),
    Case("TrainingJobDeletionsRefused", {metric("gc_delete_errors_total"): increasing(0.1)}),
    Case("TrainingJobLogVolumeFilling", {metric("volume_free_bytes"): constant(90)}),
    Case(
        "TrainingJobLogVolumeFull",
        {metric("volume_free_bytes"): constant(19)},
        also=("TrainingJobLogVolumeFilling",),
    ),
    Case(
        "TrainingJobLogVolumeLeftAlone",
        {metric("gc_skipped_total", f'{VOLUME},reason="PolicyUnknown"'): increasing(0.1)},
    ),
]


def test_an_alert_fires_when_something_is_wrong_and_no_other_one_does(tmp_path: Path) -> None:
    check_cases(tmp_path, [case for case in CASES if case.series])


def test_where_there_is_no_series_at_all_only_the_absence_of_the_operator_fires(
    tmp_path: Path,
) -> None:
    [absent] = [case for case in CASES if not case.series]
    check(tmp_path, {}, {FIRING: [absent.alert]})


def test_no_alert_has_ever_fired_while_all_is_well(tmp_path: Path) -> None:
    check(tmp_path, HEALTHY, {EVER: []})


def test_no_alert_fires_for_a_hand_over_or_an_install_without_options(tmp_path: Path) -> None:
    """A rolling update: the standby's pod ends, then the leader's, and new ones come."""
    over = {
        metric("leader"): f"1x{STEPS // 2} stale",
        metric("leader", pod="b"): f"0x{STEPS // 2 + 1} 1x{STEPS // 2}",
        metric("gc_last_success_timestamp_seconds", 'sweep="jobs"', "b"): (
            f"0x{STEPS // 2 + 4} {STEPS // 2 * STEP * 60}x{STEPS // 6}"
        ),
    }
    check(tmp_path, HEALTHY | over, {EVER: []})
    options = ("record", "gc_skipped", "volume_", "memory_", "bounded_used{structure=retry")
    bare = {
        name: values
        for name, values in HEALTHY.items()
        if not name.startswith((R, *(P + option for option in options)))
    }
    assert len(bare) < len(HEALTHY)
    check(tmp_path, bare, {EVER: []})


def test_two_hand_overs_an_hour_are_no_flapping(tmp_path: Path) -> None:
    series = {
        metric("leader"): alternating(1, 0, minutes=30),
        metric("leader", pod="b"): alternating(0, 1, minutes=30),
        metric("gc_last_success_timestamp_seconds", 'sweep="jobs"', "b"): constant_age(60),
    }
    check(tmp_path, HEALTHY | series, {EVER: []})


OF_RUNS = {
    metric("gc_skipped_total", f'{JOBS},reason="RecordRejected"'): "TrainingJobFinishedJobsStuck",
    metric("gc_skipped_total", f'{VOLUME},reason="JobsUnknown"'): "TrainingJobLogVolumeLeftAlone",
    metric("gc_delete_errors_total"): "TrainingJobDeletionsRefused",
}
"""By what only runs of the housekeeping count, its alert."""

DAY, STEP_OF_DAYS = 48, 30


@pytest.mark.parametrize(
    ("values", "fires"),
    [
        # 0 until the first run a day after the start, then the same in each run.
        (f"0x{DAY - 1} 5x{DAY - 1} 10x{DAY - 1} 15x{DAY - 1}", True),
        (f"_x{DAY - 1} 5x{DAY - 1} 10x{DAY - 1} 15x{DAY - 1}", True),
        # One run only.
        (f"0x{DAY - 1} 5x{3 * DAY}", False),
        (f"_x{DAY - 1} 5x{3 * DAY}", False),
    ],
)
def test_what_goes_wrong_in_each_run_is_seen_though_there_is_one_run_a_day(
    tmp_path: Path, values: str, *, fires: bool
) -> None:
    minutes = 3 * DAY * STEP_OF_DAYS + 600
    series = {
        metric("build_info", 'version="1"'): f"1x{4 * DAY}",
        metric("gc_interval_seconds"): f"86400x{4 * DAY}",
        metric("gc_interval_seconds", pod="b"): f"86400x{4 * DAY}",
    }
    ever = f'group by (alertname) (max_over_time(ALERTS{{alertstate="firing"}}[{minutes}m]))'
    expected = sorted(OF_RUNS.values()) if fires else []
    query = FIRING if fires else ever
    counted = dict.fromkeys(OF_RUNS, values)
    check(tmp_path, series | counted, {query: expected}, step=STEP_OF_DAYS, minutes=minutes)


def test_every_alert_has_a_case() -> None:
    here = {alert.name for alert in ALERTS} - {alert.name for alert in RECORD_SERVICE}
    assert {case.alert for case in CASES} == here
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)


def test_prometheus_finds_nothing_wrong_with_the_rules() -> None:
    command = [str(find_program("promtool")), "check", "rules", "--lint-fatal", str(RULES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


def test_every_metric_of_an_alert_is_on_the_page_of_metrics() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    documented = set(re.findall(r"^\| `(trainingjob_\w+)`", page, re.MULTILINE))
    named = {name for alert in ALERTS for name in re.findall(rf"\b(?:{P}|{R})\w+", alert.expr)}
    assert len(named) > 25
    assert named - documented == set()
    others = {
        name for alert in ALERTS for name in re.findall(r"\b(?:process|up|kube)_?\w*", alert.expr)
    }
    assert others == {"process_start_time_seconds"}
