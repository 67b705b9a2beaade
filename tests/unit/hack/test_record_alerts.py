"""Tests of the record service's alerts: each fires when it should, and only then."""

from pathlib import Path

from hack.monitoring.record_alerts import RECORD_SERVICE
from tests.support.monitoring.alert_cases import (
    FIRING,
    HEALTHY,
    MINUTES,
    STEPS,
    Case,
    changed_recently,
    check,
    check_cases,
    constant,
    metric,
    record_metric,
)

CASES = [
    Case(
        "TrainingJobRecordServiceAbsent", {record_metric("database_up"): f"1x{STEPS - 16} stale"}
    ),
    Case("TrainingJobRecordDatabaseDown", {record_metric("database_up"): constant(0)}),
    Case("TrainingJobRecordDatabaseFull", {record_metric("database_full"): constant(1)}),
    Case("TrainingJobRecordDatabaseFilling", {record_metric("database_free_bytes"): constant(8)}),
    Case(
        "TrainingJobRecordsRemovedForRoom",
        {record_metric("records_removed_total", 'limit="size"'): changed_recently(40, 41)},
    ),
    Case("TrainingJobRecordServiceQueueFull", {record_metric("queue_records"): constant(206)}),
    Case("TrainingJobRecordServiceQueueFull", {record_metric("queue_bytes"): constant(60)}),
    Case(
        "TrainingJobRecordServiceFails",
        {
            record_metric(
                "http_requests_total", 'method="PUT",route="x",status="500"'
            ): changed_recently(2, 3)
        },
    ),
]


def test_an_alert_fires_when_something_is_wrong_and_no_other_one_does(tmp_path: Path) -> None:
    check_cases(tmp_path, CASES)


def test_every_alert_has_a_case() -> None:
    assert {case.alert for case in CASES} == {alert.name for alert in RECORD_SERVICE}


def test_nobody_is_called_for_a_record_service_that_was_uninstalled_with_its_operator(
    tmp_path: Path,
) -> None:
    """An hour after the last scrape of everything; that no operator is there is an alert of its own."""
    check(tmp_path, HEALTHY, {FIRING: ["TrainingJobOperatorAbsent"]}, minutes=MINUTES + 60)


def test_nobody_is_called_for_a_record_service_that_an_upgrade_has_taken_away(
    tmp_path: Path,
) -> None:
    """The operator runs on and has no endpoint for records."""
    ended = f"x{STEPS - 16} stale"
    changed = {
        record_metric("database_up"): f"1{ended}",
        metric("record_endpoint_down"): f"0{ended}",
    }
    check(tmp_path, HEALTHY | changed, {FIRING: []})
