"""The stages of a finished job, and which of them wait only for the operator; one row for each."""

from typing import Any

import pytest

from tests.support.views import at, make_condition, make_status, make_view
from trainingjob_api.constants import FINALIZER_RECORD
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.job_stage import Stage, awaits_release, stage_of

LOGS_WAIT = make_condition("LogsArchived", status=False, reason="Pending")


def finished(
    state: str | None, *, owed: bool = True, logs: bool = False, **fields: Any
) -> JobView:
    conditions = [make_condition("Complete"), make_condition("Finished")]
    status = make_status(*conditions, *([LOGS_WAIT] if logs else ()), record_state=state)
    return make_view(status, finalizers=(FINALIZER_RECORD,) if owed else (), **fields)


def live() -> JobView:
    return make_view(make_status(LOGS_WAIT), finalizers=(FINALIZER_RECORD,))


@pytest.mark.parametrize(
    ("view", "stage"),
    [
        (live(), Stage.LIVE),
        (finished("Pending", logs=True), Stage.LOGS),
        (finished("Stored", logs=True), Stage.LOGS),
        (finished("Pending"), Stage.RECORD),
        (finished("Pending", owed=False), Stage.RECORD),
        (finished("Rejected"), Stage.RECORD),
        (finished("of a later version"), Stage.RECORD),
        (finished("Stored"), Stage.RELEASE),
        (finished("NotRequired"), Stage.RELEASE),
        (finished(None), Stage.RELEASE),
        (finished("Stored", owed=False), Stage.FREE),
        (finished(None, owed=False), Stage.FREE),
    ],
)
def test_the_stage_of_a_job_follows_from_its_status_and_finalizer(
    view: JobView, stage: Stage
) -> None:
    assert stage_of(view) is stage
    assert stage_of(live(), view.status) is (Stage.RELEASE if stage is Stage.FREE else stage)


@pytest.mark.parametrize(
    ("view", "awaits"),
    [
        (finished("Stored"), True),
        (finished("NotRequired"), True),
        (finished("Pending", logs=True), True),
        (finished("Pending"), False),
        (finished("Pending", owed=False), True),
        (finished("Pending", deleting=True), True),
        (finished("Pending", discard_record=True), True),
        (finished("Pending", owed=False, deleting=True, deleted_at=at(0)), False),
        (finished("Rejected"), False),
        (finished("Rejected", deleting=True), True),
        (finished("Stored", owed=False), False),
        (live(), False),
    ],
)
def test_a_job_that_waits_only_for_the_operator_gets_a_pass(
    view: JobView, *, awaits: bool
) -> None:
    assert awaits_release(view) is awaits
