"""The table of status fields is complete, and parsing inverts serializing."""

from collections import Counter
from dataclasses import fields
from typing import Any

import pytest

from tests.support.views import at, make_condition, make_shutdown, make_status
from trainingjob_api.training_job_status import LogsStatus, TrainingJobStatus
from trainingjob_operator.core.job import JobStatus, UnreadLogs
from trainingjob_operator.core.status_wire import (
    FIELDS,
    LOG_FIELDS,
    status_document,
    status_patch,
    status_view,
)

FULL = make_status(
    make_condition("Complete"),
    phase="Running",
    start_time=at(-9),
    attempt_start_time=at(-8),
    completion_time=at(-7),
    observed_generation=2,
    attempt=3,
    launched_attempt=3,
    restarts=4,
    disruptions=5,
    disruptions_since_progress=6,
    active=7,
    ready=8,
    succeeded=9,
    failed=10,
    terminating=11,
    completed_indexes="0,2-5",
    shutdown=make_shutdown(),
    exit_code=0,
    record_state="Pending",
    record_revision=1,
    log_path="job_1",
    log_bytes=12,
    unread_logs=(UnreadLogs(attempt=1, ranks="0-2"),),
)


def test_the_table_has_every_field_of_the_status_once() -> None:
    names = Counter(field.attribute for field in (*FIELDS, *LOG_FIELDS))
    assert names == Counter(field.name for field in fields(JobStatus))


def test_the_table_has_every_field_of_the_crd_once() -> None:
    def keys(model: Any) -> Counter[str]:
        return Counter(field.alias or name for name, field in model.model_fields.items())

    assert Counter(["logs", *(field.key for field in FIELDS)]) == keys(TrainingJobStatus)
    assert Counter(field.key for field in LOG_FIELDS) == keys(LogsStatus)


@pytest.mark.parametrize("status", [FULL, JobStatus(), JobStatus(phase="Pending")])
def test_a_status_survives_a_round_trip(status: JobStatus) -> None:
    assert status_view(status_document(status)) == status


def test_a_patch_contains_changed_fields_and_removes_absent_ones() -> None:
    old, new = FULL, status_view(status_document(FULL) | {"ready": 1, "exitCode": None})
    assert status_patch(old, new) == {"ready": 1, "exitCode": None}
    assert status_patch(old, old) == {}
    assert status_patch(JobStatus(), new) == status_document(new), "the first write is whole"
