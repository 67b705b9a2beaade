"""The files of a job, and the earliest time of their removal."""

from typing import Any

import pytest

from trainingjob_api import constants
from trainingjob_console.errors import SettingsError
from trainingjob_console.jobs.job_detail import files, of_record
from trainingjob_console.settings import Settings

DAY = 86_400.0
LOGS = {"path": "job_x.log", "bytes": 3}


def job(annotations: dict[str, str] | None = None, **status: Any) -> dict[str, Any]:
    return {"metadata": {"annotations": annotations or {}}, "status": {"logs": LOGS} | status}


def test_files_are_removed_by_age_once_the_job_has_ended() -> None:
    over = job(completionTime="2026-01-30T12:00:00Z")
    assert files(over, 3 * DAY) == {
        "path": "job_x.log",
        "bytes": 3,
        "goesAt": "2026-02-02T12:00:00Z",
        "kept": False,
    }
    running = files(job(), 3 * DAY)
    assert running is not None
    assert running["goesAt"] is None
    assert files({"status": {"completionTime": "2026-01-30T12:00:00Z"}}, 3 * DAY) is None


@pytest.mark.parametrize(("value", "kept"), [("true", True), ("", True), ("false", False)])
def test_files_of_a_kept_job_have_no_removal_time(value: str, kept: bool) -> None:
    annotations = {constants.ANNOTATION_KEEP: value}
    found = files(job(annotations, completionTime="2026-01-30T12:00:00Z"), DAY)
    assert found is not None
    assert (found["kept"], found["goesAt"] is None) == (kept, kept)


def test_a_record_has_the_removal_time_too() -> None:
    record = {"logs": LOGS, "completedAt": "2026-01-30T12:00:00Z"}
    assert of_record(record, DAY)["files"] == LOGS | {
        "goesAt": "2026-01-31T12:00:00Z",
        "kept": False,
    }
    assert of_record({"logs": None}, DAY)["files"] is None


@pytest.mark.parametrize(("text", "seconds"), [("7d", 7 * DAY), ("90m", 5400.0), ("60", 60.0)])
def test_the_age_is_parsed_as_the_operator_does(text: str, seconds: float) -> None:
    variables = {"TRAININGJOB_CONSOLE_LOG_MAX_AGE": text}
    assert Settings.from_environment(variables).log_max_age == seconds
    with pytest.raises(SettingsError, match="TRAININGJOB_CONSOLE_LOG_MAX_AGE"):
        Settings.from_environment({"TRAININGJOB_CONSOLE_LOG_MAX_AGE": "a week"})
