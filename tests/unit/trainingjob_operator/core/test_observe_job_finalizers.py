"""Only finalizers that the operator handles are stored, however many a job has."""

import tracemalloc
from typing import Any

import pytest

from tests.support.builders import make_job
from trainingjob_api.constants import FINALIZER_RECORD
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.kube.finalizers import with_record_finalizer, without_record_finalizer

FOREIGN = "example.com/a"


def view(*finalizers: str) -> JobView:
    raw = make_job("mnist")
    raw["metadata"] |= {"uid": "1", "resourceVersion": "1", "finalizers": list(finalizers)}
    return job_view(raw)


def test_many_long_finalizers_of_others_cost_no_memory() -> None:
    raw: list[dict[str, Any]] = [make_job(f"job-{n}") for n in range(20)]
    for number, job in enumerate(raw):
        job["metadata"]["finalizers"] = [
            *(f"example.com/{number}-{n:06d}".ljust(200, "x") for n in range(500)),
            FINALIZER_RECORD,
        ]
    job_view(raw[0])
    tracemalloc.start()
    try:
        views = [job_view(raw.pop()) for _ in range(len(raw))]
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(job.has_record_finalizer and job.finalizer_count == 501 for job in views)
    assert used / len(views) < 3000


@pytest.mark.parametrize("before", [(), (FOREIGN,), (FOREIGN, "orphan", "b.dev/c")])
def test_our_finalizer_is_appended_to_the_list_and_removed_by_its_index(
    before: tuple[str, ...],
) -> None:
    [put] = with_record_finalizer(view(*before))
    assert put["op"] == "add"
    assert put["value"] == (FINALIZER_RECORD if before else [FINALIZER_RECORD])
    assert put["path"] == "/metadata/finalizers" + ("/-" if before else "")
    place = f"/metadata/finalizers/{len(before)}"
    assert without_record_finalizer(view(*before, FINALIZER_RECORD, "d.dev/e")) == [
        {"op": "test", "path": place, "value": FINALIZER_RECORD},
        {"op": "remove", "path": place},
    ]


def test_an_unchanged_list_of_finalizers_needs_no_patch() -> None:
    assert with_record_finalizer(view(FINALIZER_RECORD)) == []
    assert without_record_finalizer(view(FOREIGN)) == []
