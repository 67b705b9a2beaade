"""The index of live jobs is bounded, and keeps recent changes."""

import gc
import json
import tracemalloc
from typing import Any

import pytest

from tests.support.console.summaries import BEGIN, make_raw, make_summary
from tests.support.markers import quick
from trainingjob_console.jobs.index import BYTES_A_JOB, Change, JobIndex
from trainingjob_console.jobs.summary import MAX_LABEL_BYTES, Summary, summarize


def make_index(max_jobs: int = 4, **more: Any) -> JobIndex:
    return JobIndex(max_jobs=max_jobs, epoch="e", **more)


def numbers(index: JobIndex) -> list[int]:
    return sorted(int(job.name.removeprefix("job-")) for job in index.jobs())


def test_at_the_limit_the_job_that_finished_longest_ago_is_evicted() -> None:
    index = make_index()
    for number, completed in ((1, 300), (2, 100), (3, 200), (4, None)):
        index.put(make_summary(number, completed=completed and BEGIN + completed))
    index.put(make_summary(5))
    assert numbers(index) == [1, 3, 4, 5]
    index.put(make_summary(6, completed=BEGIN + 150))  # finished before all others
    assert (numbers(index), index.left_out) == ([1, 3, 4, 5], 1)
    index.put(make_summary(7, completed=BEGIN + 900))
    assert numbers(index) == [1, 4, 5, 7]
    index.put(make_summary(8))
    index.put(make_summary(9))
    index.put(make_summary(10))  # no finished job is left
    assert (numbers(index), index.left_out) == ([4, 5, 8, 9], 2)


def test_a_job_that_runs_again_after_its_end_does_not_count_as_finished() -> None:
    index = make_index(2)
    index.put(make_summary(1, completed=BEGIN + 1))
    index.put(make_summary(1))
    index.put(make_summary(2))
    index.put(make_summary(3))
    assert numbers(index) == [1, 2]


def test_with_large_labels_and_texts_fewer_jobs_fit_into_the_byte_limit() -> None:
    index = make_index(100)
    labels = {f"key-{n}": "é" * 63 for n in range(100)}
    long = make_raw(0)["status"]["conditions"][0] | {"message": "é" * 5000}
    for number in range(200):
        raw = make_raw(number, labels=labels, completed=BEGIN + number)
        raw["status"]["conditions"] = [long | {"reason": f"{number}" + "é" * 5000}]
        job = summarize(raw)
        assert job is not None
        assert sum(len(label.encode()) for label in job.labels) <= MAX_LABEL_BYTES
        index.put(job)
    assert 30 < len(index) < 100
    assert index.bytes <= 100 * BYTES_A_JOB
    assert index.bytes == sum(job.weight() for job in index.jobs())


def test_changes_since_a_position_are_returned_until_they_are_dropped() -> None:
    index = make_index(10, max_changes=3)
    heard: list[Change] = []
    stop = index.listen(heard.append)
    start = index.position
    assert start == "e:0"
    index.put(make_summary(1))
    index.put(make_summary(1))  # nothing has changed
    middle = index.position
    index.put(make_summary(1, phase="Failed"))
    index.remove(make_summary(1).uid)
    changes = index.changes_since(middle)
    assert changes is not None
    assert [(c.number, c.after and c.after.phase) for c in changes] == [(2, "Failed"), (3, None)]
    assert index.changes_since(index.position) == []
    assert index.changes_since(start) == heard
    stop()
    index.put(make_summary(2))
    assert len(heard) == 3
    for lost in (start, "e:99", "other:1", "e:", "e:-1", "", "e:" + "9" * 30):
        assert index.changes_since(lost) is None, lost


def test_jobs_that_a_complete_list_lacks_are_removed() -> None:
    index = make_index(10)
    for number in range(3):
        index.put(make_summary(number, namespace=f"n{number}"))
    assert not index.is_complete
    index.keep_only({make_summary(1).uid})
    assert (numbers(index), list(index.namespaces()), index.is_complete) == ([1], ["n1"], True)


@pytest.mark.parametrize(
    "value", [None, 1, [], {}, "x", {"metadata": []}, {"metadata": {"uid": 1}}]
)
def test_an_invalid_object_is_left_out(value: Any) -> None:
    assert summarize(value if isinstance(value, dict) else {"metadata": value}) is None


@pytest.mark.parametrize("part", ["spec", "status"])
@pytest.mark.parametrize(
    "value", [None, 1, "x", [1], {"numNodes": "x", "conditions": [1], "phase": 3}]
)
def test_of_a_job_with_invalid_parts_the_valid_ones_are_shown(part: str, value: Any) -> None:
    found = summarize(make_raw(1) | {part: value})
    assert found is not None
    assert json.dumps(found.row())


@pytest.mark.parametrize("jobs", quick([2_000, 20_000], in_quick=[2_000]))
def test_20_000_jobs_take_60_mib_at_most(jobs: int) -> None:
    # Decoded from JSON, so that no string is shared that is not shared in production.
    texts = [json.dumps(make_raw(n, namespace=f"team-{n % 50}")) for n in range(jobs)]
    gc.collect()
    tracemalloc.start()
    try:
        index = JobIndex(max_jobs=20_000, epoch="e")
        for text in texts:
            job = summarize(json.loads(text))
            assert isinstance(job, Summary)
            index.put(job)
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    print(f"\n{jobs:,} jobs take {used / 2**20:.1f} MiB")  # noqa: T201 - with `pytest -s`
    assert len(index) == jobs
    # The kept changes and the shared texts are not included in the index's own count.
    beside = 8 * 2**20
    assert used <= index.bytes + beside
    assert index.max_bytes + beside <= 60 * 2**20
