"""Tests of the record service's alerts: each fires when it should, and only then."""

from pathlib import Path

from hack.monitoring.record_alerts import RECORD_SERVICE
from tests.support.monitoring.staged import (
    FIRING,
    MINUTES,
    STEPS,
    WELL,
    Case,
    always,
    check,
    check_each,
    lately,
    metric,
    of_records,
)

CASES = [
    Case("TrainingJobRecordServiceAbsent", {of_records("database_up"): f"1x{STEPS - 16} stale"}),
    Case("TrainingJobRecordDatabaseDown", {of_records("database_up"): always(0)}),
    Case("TrainingJobRecordDatabaseFull", {of_records("database_full"): always(1)}),
    Case("TrainingJobRecordDatabaseFilling", {of_records("database_free_bytes"): always(8)}),
    Case(
        "TrainingJobRecordsRemovedForRoom",
        {of_records("records_removed_total", 'limit="size"'): lately(40, 41)},
    ),
    Case("TrainingJobRecordServiceQueueFull", {of_records("queue_records"): always(206)}),
    Case("TrainingJobRecordServiceQueueFull", {of_records("queue_bytes"): always(60)}),
    Case(
        "TrainingJobRecordServiceFails",
        {of_records("http_requests_total", 'method="PUT",route="x",status="500"'): lately(2, 3)},
    ),
]


def test_an_alert_fires_when_something_is_wrong_and_no_other_one_does(tmp_path: Path) -> None:
    check_each(tmp_path, CASES)


def test_every_alert_has_a_case() -> None:
    assert {case.alert for case in CASES} == {alert.name for alert in RECORD_SERVICE}


def test_nobody_is_called_for_a_record_service_that_was_uninstalled_with_its_operator(
    tmp_path: Path,
) -> None:
    """An hour after the last scrape of everything; that no operator is there is an alert of its own."""
    check(tmp_path, WELL, {FIRING: ["TrainingJobOperatorAbsent"]}, minutes=MINUTES + 60)


def test_nobody_is_called_for_a_record_service_that_an_upgrade_has_taken_away(
    tmp_path: Path,
) -> None:
    """The operator runs on and has no endpoint for records."""
    ended = f"x{STEPS - 16} stale"
    changed = {of_records("database_up"): f"1{ended}", metric("record_endpoint_down"): f"0{ended}"}
    check(tmp_path, WELL | changed, {FIRING: []})
