"""The report on a finished job: its record, and the deletions by retention."""

from pathlib import Path
from typing import Any, cast

import pytest

from trainingjob_sandbox.client import ApiClient, ApiError
from trainingjob_sandbox.run import finished_job
from trainingjob_sandbox.run.finished_job import FinishedJobReport
from trainingjob_sandbox.run.records import RecordService
from trainingjob_sandbox.run.screen import Screen

Object = dict[str, Any]
UID = "1d57e315-5345-45db-859c-63ed8af06be5"
JOB: Object = {"metadata": {"name": "mnist", "namespace": "ml", "uid": UID}}
RECORD: Object = {
    "uid": UID,
    "phase": "Succeeded",
    "attempt": 0,
    "durationSeconds": 12,
    "exitCode": 0,
}


class FakeScreen:
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


class FakeRecords:
    """Returns these records, one for each call."""

    def __init__(self, *records: Object | None) -> None:
        self._records = list(records)

    async def wait_for_record(self, uid: str, *, timeout_s: float) -> Object | None:
        return self._records.pop(0)

    def path_of(self, uid: str) -> str:
        return f"/api/v1/jobs/{uid}"


class FakeCluster(ApiClient):
    """Has a job and its pods for so many reads."""

    def __init__(self, *, job_looks: int = 0, pod_looks: int = 1) -> None:
        self._job_looks = job_looks
        self._pod_looks = pod_looks

    async def get(self, path: str) -> Object:
        assert path == "/apis/trainingjob.dev/v1alpha1/namespaces/ml/trainingjobs/mnist"
        self._job_looks -= 1
        if self._job_looks < 0:
            raise ApiError(404, "NotFound", "no such job")
        return JOB

    async def list(
        self, path: str, *, label_selector: str = "", field_selector: str = ""
    ) -> tuple[list[Object], str]:
        assert label_selector == f"trainingjob.dev/job-uid={UID}"
        self._pod_looks -= 1
        pod = {"metadata": {"name": "mnist-0", "uid": "pod-uid"}}
        return ([pod] if self._pod_looks >= 0 else []), "1"


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished_job, "_POLL_S", 0.001)
    monkeypatch.setattr(finished_job, "_DELETED_S", 0.05)


def make(cluster: FakeCluster, records: FakeRecords | None) -> tuple[FinishedJobReport, list[str]]:
    screen = FakeScreen()
    service = cast("RecordService | None", records)
    return FinishedJobReport(cluster, service, cast(Screen, screen), job=JOB), screen.said


async def test_deletions_are_printed_in_order_and_then_the_record(tmp_path: Path) -> None:
    after, said = make(FakeCluster(job_looks=3, pod_looks=3), FakeRecords(RECORD))

    await after.show_retention(after_s=1, volume=tmp_path)

    assert said == [
        "in this run the operator deletes finished jobs after 1 s (default: 1 hour)",
        "and log files that have not changed for 1 s (default: 1 week):",
        "  job mnist: deleted",
        "  pods mnist-0: deleted",
        "  files none: deleted",
        "  the record is kept: uid 1d57e315, phase Succeeded, 12 s, exit code 0, 1 attempt",
    ]


async def test_a_job_of_another_uid_is_not_the_one_that_was_run(tmp_path: Path) -> None:
    cluster = FakeCluster(job_looks=1000)
    after, said = make(cluster, None)
    namesake = {"metadata": {**JOB["metadata"], "uid": "another"}}

    async def get(path: str) -> Object:
        return namesake

    cluster.get = get  # type: ignore[method-assign]
    await after.show_retention(after_s=0, volume=tmp_path)

    assert "  job mnist: deleted" in said


async def test_objects_that_are_not_deleted_in_time_are_reported(tmp_path: Path) -> None:
    (tmp_path / f"job_{UID}").mkdir()
    after, said = make(FakeCluster(job_looks=10_000, pod_looks=10_000), FakeRecords(RECORD))

    await after.show_retention(after_s=0, volume=tmp_path)

    assert said[2:5] == [
        "  job mnist: not deleted after 0.05 s",
        "  pods mnist-0: not deleted after 0.05 s",
        f"  files job_{UID}/: not deleted after 0.05 s",
    ]


async def test_a_record_deleted_with_the_job_is_reported_as_a_fault(tmp_path: Path) -> None:
    after, said = make(FakeCluster(), FakeRecords(None))

    await after.show_retention(after_s=0, volume=tmp_path)

    assert said[-1] == "  the record was deleted too: this is a fault"


async def test_a_missing_record_is_reported() -> None:
    after, said = make(FakeCluster(), FakeRecords(None))

    await after.show_record()

    assert said == ["no record of mnist was stored within 15 s"]


async def test_without_a_record_service_no_line_mentions_records(tmp_path: Path) -> None:
    after, said = make(FakeCluster(), None)

    await after.show_record()
    await after.show_retention(after_s=0, volume=tmp_path)

    assert not any("record" in line for line in said)
