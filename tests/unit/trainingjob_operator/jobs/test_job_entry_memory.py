"""The memory of a pod in the index is bounded, whatever its messages contain."""

import gc
import tracemalloc
from collections.abc import Iterable
from typing import Any

import pytest

from tests.support.builders import make_job
from trainingjob_api.constants import (
    ANNOTATION_MAIN_CONTAINER,
    ANNOTATION_TEMPLATE_HASH,
    KIND_TRAINING_JOB,
    LABEL_ATTEMPT,
    LABEL_INDEX,
    LABEL_JOB_NAME,
)
from trainingjob_operator.core import untyped_json
from trainingjob_operator.core.naming import pod_name
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.core.observe_pod import pod_view
from trainingjob_operator.jobs.job_entry import JobEntry
from trainingjob_operator.jobs.job_index import JobIndex

UID = "11111111-aaaa-4bbb-8ccc-222222222222"
NODES = 200
Object = dict[str, Any]


def text(value: object) -> str:
    """The text as an object of its own, as from a decoder."""
    return "".join(list(str(value)))


def rank(number: int, *, version: int, attempt: int = 0, **status: Any) -> Object:
    """A pod of the job, as the API server sends it once it runs."""
    kinds = (
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    )
    running = {
        "name": text("trainer"),
        "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
    }
    return {
        "metadata": {
            "namespace": text("ml"),
            "name": pod_name("mnist", UID, attempt, number),
            "uid": f"{number:08}-aaaa-4bbb-8ccc-{attempt:012}",
            "resourceVersion": str(version),
            "labels": {
                LABEL_JOB_NAME: text("mnist"),
                LABEL_ATTEMPT: str(attempt),
                LABEL_INDEX: str(number),
            },
            "annotations": {
                ANNOTATION_TEMPLATE_HASH: text("0123456789abcdef"),
                ANNOTATION_MAIN_CONTAINER: text("trainer"),
            },
            "ownerReferences": [{"controller": True, "kind": KIND_TRAINING_JOB, "uid": text(UID)}],
        },
        "spec": {"containers": [{"name": text("trainer")}]},
        "status": {
            "phase": text("Running"),
            "conditions": [{"type": text(kind), "status": text("True")} for kind in kinds],
            "containerStatuses": [running],
        }
        | status,
    }


def failed(number: int, *, version: int) -> Object:
    """A pod whose containers have failed, with many last words of its own."""
    ended = [
        {
            "name": f"container-{n}",
            "state": {
                "terminated": {
                    "exitCode": number % 250 + n,
                    "message": f"{number} " + "x😀" * 2000,
                }
            },
        }
        for n in range(1, 3)
    ]
    return rank(number, version=version, phase="Failed", containerStatuses=ended)


def new_index() -> tuple[JobIndex, JobEntry]:
    raw = make_job("mnist", nodes=NODES)
    raw["metadata"] |= {"uid": UID, "resourceVersion": "1"}
    index = JobIndex(10)
    index.observe_job(job_view(raw))
    [entry] = index
    return index, entry


def take_in(index: JobIndex, pods: Iterable[Object]) -> None:
    for raw in pods:
        view = pod_view(raw)
        assert view is not None
        index.observe_pod(view)


def bytes_of_a_pod(*generations: Iterable[Object]) -> float:
    """Bytes that each of the ranks takes in the index after that."""
    index, entry = new_index()
    take_in(index, [rank(number, version=1) for number in range(3)])  # what is shared is there
    gc.collect()
    tracemalloc.start()
    try:
        for pods in generations:
            take_in(index, pods)
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(entry.pods) == NODES
    return used / NODES


@pytest.fixture(autouse=True)
def new_caches() -> None:
    """As in a new process: what makes room in a full cache is not counted against what comes in."""
    for cache in (untyped_json._shared, untyped_json._first_equal, untyped_json._parsed_time):
        cache.cache_clear()


def test_a_rank_that_runs_takes_little_more_than_half_a_kilobyte() -> None:
    created = (rank(n, version=1000 + n, phase="Pending") for n in range(NODES))
    running = (rank(n, version=9000 + n) for n in range(NODES))
    assert bytes_of_a_pod(created, running) < 600


def test_a_rank_that_fails_at_length_takes_little_more() -> None:
    running = (rank(n, version=1000 + n) for n in range(NODES))
    ended = (failed(n, version=9000 + n) for n in range(NODES))
    assert bytes_of_a_pod(running, ended) < 1800


def test_the_first_ranks_that_fail_are_remembered_with_all_that_they_say() -> None:
    index, entry = new_index()
    take_in(index, (failed(n, version=1000 + n) for n in range(NODES)))
    lengths = [len(pod.message.encode()) for pod in entry.pods.values()]
    assert all(length > 1000 for length in lengths[:16])
    assert all(100 < length <= 128 for length in lengths[16:])
    assert all(pod.message.startswith(f"{pod.index} x") for pod in entry.pods.values())


def test_pods_that_somebody_forges_for_a_job_have_a_limit_that_its_size_sets() -> None:
    index, entry = new_index()
    for attempt in range(9):
        take_in(index, (rank(n, version=9, attempt=attempt) for n in range(NODES)))
    assert 4 * NODES <= len(entry.pods) < 4 * NODES + 20
