"""The log steps of a pass: which logs are requested, and when their outcomes are forgotten."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import pytest

from tests.support.views import (
    deleting,
    make_condition,
    make_pod,
    make_status,
    make_view,
    succeeded,
)
from trainingjob_operator.core.decision import ArchiveSearch, LogOutcome, Plan
from trainingjob_operator.core.job import JobStatus, JobView
from trainingjob_operator.core.pod import PodView
from trainingjob_operator.jobs.job_entry import JobEntry
from trainingjob_operator.jobs.log_keeper import ASK_VOLUME_S, LogKeeper

RUNS = make_status(make_condition("LogsArchived", status=False, reason="VolumeUnavailable"))
OVER = make_status(make_condition("Complete"), make_condition("Finished"))


class FakeLogs:
    """An archive that notes what it is asked."""

    def __init__(self, *, has_directory: bool = False) -> None:
        self.has_directory = has_directory
        self.calls: list[tuple[str, object]] = []
        self.volume_error = ""

    def outcomes_of(self, job: JobView) -> Mapping[str, LogOutcome]:
        return {}

    def request_logs(
        self, job: JobView, pods: Iterable[PodView], archive_search: ArchiveSearch | None = None
    ) -> bool:
        self.calls.append(("want", [pod.index for pod in pods]))
        return archive_search is None

    def forget(self, job: JobView, present: Collection[str]) -> None:
        self.calls.append(("forget", sorted(present)))

    def forget_log_outcomes(self, uid: str) -> None:
        self.calls.append(("settled", uid))

    async def ensure_job_directory(self, job: JobView) -> bool:
        self.calls.append(("prepare", job.uid))
        return self.has_directory


def entry(status: JobStatus) -> JobEntry:
    pod = make_pod()
    return JobEntry(job=make_view(status), pods={pod.name: pod})


def test_only_what_goes_in_any_case_is_requested_before_status_says_so() -> None:
    logs, job = FakeLogs(), make_view()
    pods = (make_pod(0), succeeded(1), deleting(make_pod(2)))
    keeper, decided = LogKeeper(logs), Plan(status=job.status, archive=pods)
    assert keeper.request_early(job, decided)
    assert keeper.request(job, decided)
    assert logs.calls == [("want", [1, 2]), ("want", [0, 1, 2])]
    archive_search = ArchiveSearch(attempt=0, ranks=frozenset({0}))
    assert not keeper.request(job, replace(decided, archive_search=archive_search)), (
        "there is no room"
    )


@pytest.mark.parametrize(("status", "call"), [(RUNS, "forget"), (OVER, "settled")])
def test_outcomes_in_status_are_forgotten(status: JobStatus, call: str) -> None:
    logs = FakeLogs()
    LogKeeper(logs).forget(entry(status))
    assert [name for name, _ in logs.calls] == [call]


@pytest.mark.parametrize(
    ("status", "has_directory", "wait_s", "calls"),
    [
        (RUNS, False, ASK_VOLUME_S, 1),
        (RUNS, True, None, 1),
        (JobStatus(), False, None, 0),
        (OVER, False, None, 0),
    ],
    ids=["the volume is broken", "it is well again", "nothing is missing", "it is over"],
)
async def test_a_job_that_runs_without_a_directory_retries_its_creation(
    status: JobStatus, *, has_directory: bool, wait_s: float | None, calls: int
) -> None:
    logs = FakeLogs(has_directory=has_directory)
    assert await LogKeeper(logs).retry_directory_s(entry(status)) == wait_s
    assert len(logs.calls) == calls
