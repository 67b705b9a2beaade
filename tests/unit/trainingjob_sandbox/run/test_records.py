"""The settings and readiness of a run's record service, and the summary of a record."""

from pathlib import Path
from typing import Any

import pytest

from trainingjob_sandbox.run.records import RecordService, facts

LOG = """
{"message": "records are taken on http://127.0.0.1:40123/api/v1/jobs", "level": "info"}
{"message": "records are kept in sqlite+aiosqlite:////tmp/run/records.db", "level": "info"}
"""


def record(**fields: Any) -> dict[str, Any]:
    return {
        "uid": "1d57e315-5345-45db-859c-63ed8af06be5",
        "phase": "Succeeded",
        "attempt": 0,
        "durationSeconds": 12,
        "exitCode": 0,
        **fields,
    }


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        pytest.param({}, "phase Succeeded, 12 s, exit code 0, 1 attempt", id="completed"),
        pytest.param(
            {"phase": "Failed", "exitCode": 7, "attempt": 3},
            "phase Failed, 12 s, exit code 7, 4 attempts",
            id="failed",
        ),
        pytest.param(
            {"phase": "Cancelled", "exitCode": None, "durationSeconds": None},
            "phase Cancelled, 1 attempt",
            id="never-started",
        ),
    ],
)
def test_a_record_is_summarised_in_one_line(fields: dict[str, Any], want: str) -> None:
    assert facts(record(**fields)) == f"uid 1d57e315, {want}"


def test_the_service_is_ready_when_its_log_has_the_address_and_the_database(
    tmp_path: Path,
) -> None:
    records = RecordService(tmp_path)
    first, second = LOG.strip().splitlines()

    assert not records.is_ready("")
    assert not records.is_ready(first)
    assert not records.is_ready(second)
    assert records.is_ready(LOG)
    assert records.operator_settings["TRAININGJOB_PERSIST__URL"] == (
        "http://127.0.0.1:40123/api/v1/jobs"
    )
    assert records.path_of("1d57e315") == "/api/v1/jobs/1d57e315"


def test_its_token_is_in_a_file_of_its_own_and_in_no_setting(tmp_path: Path) -> None:
    records = RecordService(tmp_path)
    token = records.token_file.read_text().strip()

    assert records.token_file.stat().st_mode & 0o777 == 0o600
    assert not any(token in value for value in records.settings.values())
    assert records.settings["TRAININGJOB_RECORDS_TOKEN_FILE"] == str(records.token_file)


def test_every_run_has_another_token(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    first, second = RecordService(tmp_path / "a"), RecordService(tmp_path / "b")

    assert first.token_file.read_text() != second.token_file.read_text()
