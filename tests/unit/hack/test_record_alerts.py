"""The alerts of the record service: each fires when it should, and at no other time."""

from pathlib import Path

import pytest

from hack.monitoring.record_alerts import RECORD_SERVICE
from tests.support.monitoring.staged import (
    FIRING,
    STEPS,
    WELL,
    Case,
    always,
    check,
    lately,
    of_records,
)
from tests.support.selection import quick

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


@pytest.mark.parametrize("case", quick(CASES, in_quick=CASES[1:2]), ids=lambda case: case.alert)
def test_an_alert_fires_when_something_is_wrong_and_no_other_one_does(
    case: Case, tmp_path: Path
) -> None:
    check(tmp_path, WELL | case.series, {FIRING: [case.alert]})


def test_every_alert_has_a_case() -> None:
    assert {case.alert for case in CASES} == {alert.name for alert in RECORD_SERVICE}
