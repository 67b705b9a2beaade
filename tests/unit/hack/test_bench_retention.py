"""Tests of the retention benchmark: the jobs that it writes, and its report."""

from typing import Any

from hack.bench.contestants import OURS
from hack.bench.retention import TTL, Removal, finished_status, render


def removal(**differences: Any) -> Removal:
    values: dict[str, Any] = {
        "contestant": "ours",
        "jobs": 1000,
        "gone": 1000,
        "seconds": 4.0,
        "first_s": 0.5,
        "requests": 2000,
        "cpu_s": {"controller-manager": 1.0, "operator": 4.0, "api-server": 9.0, "etcd": 1.0},
        "foreign_cores": 0.02,
    }
    return Removal(**(values | differences))


def cells(text: str) -> list[str]:
    return [cell.strip() for cell in text.splitlines()[-1].strip("|").split("|")]


def test_the_rate_is_counted_from_when_their_time_was_over() -> None:
    assert removal().rate == 250.0
    assert removal(gone=0).rate == 0.0


def test_the_built_in_controllers_beside_ours_are_counted_with_it() -> None:
    assert cells(render([removal()])) == [
        *("ours", "1000", "250", "0.5", "4.0", "2.00", "5.0", "10.0", "0.02", "0")
    ]


def test_jobs_that_are_left_are_said() -> None:
    assert cells(render([removal(gone=990)]))[-1] == "10"


def test_no_operator_is_needed_where_the_built_in_controller_does_it() -> None:
    cpu = {"controller-manager": 2.0, "api-server": 9.0, "etcd": 1.0}
    assert cells(render([removal(contestant=TTL.name, cpu_s=cpu)]))[6] == "2.0"


def test_a_finished_job_says_so_in_the_terms_of_its_kind() -> None:
    at = "2026-01-01T00:00:00Z"
    ours, job = finished_status(OURS, at), finished_status(TTL, at)
    assert ours["completionTime"] == job["completionTime"] == at
    assert ours["recordState"] == "NotRequired"
    for status in (ours, job):
        assert "Complete" in {each["type"] for each in status["conditions"]}
