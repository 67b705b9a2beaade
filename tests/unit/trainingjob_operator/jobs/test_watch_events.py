"""The effect of each watch event, in any order of events."""

from typing import Any

import pytest

from tests.support.builders import make_job
from tests.support.clock import FakeClock
from trainingjob_operator.core.decision import DecisionSettings
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.manifest_cache import ManifestCache
from trainingjob_operator.jobs.watch_events import WatchEventHandler
from trainingjob_operator.jobs.work_queue import WorkQueue

Object = dict[str, Any]
KEY = JobKey("ml", "mnist")
COMPLETE = {
    "phase": "Succeeded",
    "conditions": [
        {"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    ],
}
QUEUED = {
    "phase": "Pending",
    "conditions": [
        {
            "type": "PodsReady",
            "status": "False",
            "reason": "Queued",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ],
}


class Entrance:
    """An intake with what is behind it; `due` empties the queue."""

    def __init__(self, max_jobs: int = 10) -> None:
        self.queue: WorkQueue[JobKey] = WorkQueue()
        self.index = JobIndex(max_jobs, on_turn=self.queue.add)
        self.manifests = ManifestCache()
        self.watch_events = WatchEventHandler(
            self.index, self.manifests, self.queue, FakeClock(), settings=DecisionSettings()
        )

    async def due(self) -> list[str]:
        """The jobs that are to be worked on now."""
        names = []
        while self.queue.depth:
            key = await self.queue.get()
            self.queue.done(key)
            names.append(key.name)
        return names


def job(
    name: str = "mnist",
    *,
    version: int = 1,
    uid: str = "u1",
    status: Object | None = None,
    **spec: Any,
) -> Object:
    raw = make_job(name, **spec)
    raw["metadata"] |= {
        "uid": uid,
        "resourceVersion": str(version),
        "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return raw | {"status": status or {}}


def pod(
    *,
    version: int = 1,
    owner: str = "u1",
    phase: str = "Pending",
    job_name: str = "mnist",
    index: str = "0",
) -> Object:
    return {
        "metadata": {
            "namespace": "ml",
            "name": "mnist-0-0",
            "uid": "p1",
            "resourceVersion": str(version),
            "labels": {
                "trainingjob.dev/job-name": job_name,
                "trainingjob.dev/attempt": "0",
                "trainingjob.dev/index": index,
            },
            "ownerReferences": [{"kind": "TrainingJob", "controller": True, "uid": owner}],
        },
        "status": {"phase": phase},
    }


# --- jobs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [None, "ADDED", "MODIFIED"])
async def test_a_job_that_is_new_is_taken_in_and_worked_on(kind: str | None) -> None:
    at = Entrance()
    at.watch_events.job_event(kind, job())
    assert KEY in at.index
    assert await at.due() == ["mnist"]


async def test_an_event_with_a_version_that_the_index_has_enqueues_nothing() -> None:
    at = Entrance()
    at.watch_events.job_event("ADDED", job(version=5))
    await at.due()
    for version in (4, 5):
        at.watch_events.job_event("MODIFIED", job(version=version, suspend=True))
    assert await at.due() == []
    at.watch_events.job_event("MODIFIED", job(version=6, suspend=True))
    assert await at.due() == ["mnist"]


@pytest.mark.parametrize("nodes", [1, 0], ids=["valid", "not understood"])
async def test_another_controllers_job_is_left_alone(nodes: int) -> None:
    at = Entrance()
    at.watch_events.job_event("ADDED", job(managedBy="example.com/other", numNodes=nodes))
    assert (len(at.index), len(at.manifests), await at.due()) == (0, 0, [])


@pytest.mark.parametrize("kind", [None, "ADDED", "MODIFIED"])
async def test_a_job_that_was_over_before_we_knew_it_is_passed_over(kind: str | None) -> None:
    at = Entrance()
    at.watch_events.job_event(kind, job(status=COMPLETE))
    assert (len(at.index), await at.due()) == (0, [])


async def test_a_job_that_ends_while_we_follow_it_is_followed_to_its_end() -> None:
    at = Entrance()
    at.watch_events.job_event("ADDED", job())
    await at.due()
    at.watch_events.job_event("MODIFIED", job(version=2, status=COMPLETE))
    entry = at.index.get(KEY)
    assert entry is not None
    assert entry.job.status.is_finished
    assert await at.due() == ["mnist"]


async def test_a_deleted_job_leaves_nothing_behind() -> None:
    at = Entrance()
    at.watch_events.job_event("ADDED", job())
    await at.due()
    at.queue.add_after(KEY, 3600)
    at.watch_events.job_event("DELETED", job(version=2))
    assert (len(at.index), len(at.manifests), len(at.queue)) == (0, 0, 0)


async def test_the_end_of_the_old_job_does_not_touch_its_namesake() -> None:
    at = Entrance()
    at.watch_events.job_event("ADDED", job(uid="old"))
    at.watch_events.job_event("ADDED", job(uid="new", version=5))
    at.watch_events.job_event("DELETED", job(uid="old", version=4))
    entry = at.index.get(KEY)
    assert entry is not None
    assert entry.job.uid == "new"
    assert (len(at.manifests), await at.due()) == (1, ["mnist"])


@pytest.mark.parametrize(
    ("kind", "changes", "kept"),
    [
        ("ADDED", {}, True),
        (None, {}, False),
        ("MODIFIED", {}, False),
        ("ADDED", {"suspend": True}, False),
        ("ADDED", {"shutdown": "Stop"}, False),
        ("ADDED", {"numNodes": 0}, False),
        ("ADDED", {"status": {"phase": "Running", "attempt": 0, "launchedAttempt": 0}}, False),
        ("ADDED", {"status": QUEUED}, False),
    ],
)
async def test_the_spec_is_kept_only_of_a_job_that_was_just_created_and_may_start(
    kind: str | None, changes: Object, *, kept: bool
) -> None:
    at = Entrance()
    at.watch_events.job_event(kind, job(**changes))
    assert len(at.manifests) == kept


@pytest.mark.parametrize("spec", [None, 5, [], {}, {"template": "x"}])
async def test_a_job_that_cannot_be_understood_is_work_and_no_crash(spec: object) -> None:
    at = Entrance()
    at.watch_events.job_event("ADDED", job() | {"spec": spec})
    assert (await at.due(), len(at.manifests)) == (["mnist"], 0)


async def test_a_job_without_room_in_the_index_is_enqueued_once_to_write_its_status() -> None:
    at = Entrance(max_jobs=1)
    at.watch_events.job_event("ADDED", job())
    at.watch_events.job_event("ADDED", job("waiting", uid="u2"))
    assert await at.due() == ["mnist", "waiting"]
    at.watch_events.job_event("MODIFIED", job("waiting", uid="u2", version=2, status=QUEUED))
    assert (await at.due(), len(at.manifests)) == ([], 1)


async def test_a_deleted_waiting_job_leaves_the_queue() -> None:
    at = Entrance(max_jobs=1)
    at.watch_events.job_event("ADDED", job())
    at.watch_events.job_event("ADDED", job("waiting", uid="u2"))
    at.watch_events.job_event("DELETED", job("waiting", uid="u2", version=2))
    assert len(at.index.waiting) == 0


# --- pods -------------------------------------------------------------------------------------


async def test_a_changed_pod_enqueues_its_job_and_a_repeated_event_does_not() -> None:
    at = Entrance()
    at.watch_events.job_event("ADDED", job())
    await at.due()
    at.watch_events.pod_event("ADDED", pod())
    assert await at.due() == ["mnist"]
    at.watch_events.pod_event("ADDED", pod())
    at.watch_events.pod_event("MODIFIED", pod(version=2))  # nothing in it that we look at
    assert await at.due() == []
    at.watch_events.pod_event("MODIFIED", pod(version=3, phase="Running"))
    assert await at.due() == ["mnist"]
    at.watch_events.pod_event("DELETED", pod(version=4, phase="Running"))
    assert await at.due() == ["mnist"]


@pytest.mark.parametrize(
    "raw",
    [
        pod(owner="another job's"),
        pod() | {"metadata": pod()["metadata"] | {"ownerReferences": []}},
        pod(index="first"),
        {"metadata": None},
        {},
    ],
    ids=["foreign", "unowned", "no rank", "no metadata", "empty"],
)
@pytest.mark.parametrize("kind", [None, "ADDED", "MODIFIED", "DELETED"])
async def test_a_pod_that_is_no_rank_of_a_job_we_follow_is_passed_over(
    kind: str | None, raw: Object
) -> None:
    at = Entrance()
    at.watch_events.job_event("ADDED", job())
    await at.due()
    at.watch_events.pod_event(kind, raw)
    entry = at.index.get(KEY)
    assert entry is not None
    assert (entry.pods, set(entry.vanished), await at.due()) == ({}, set(), [])


@pytest.mark.parametrize("kind", [None, "ADDED", "MODIFIED"])
async def test_the_job_of_a_running_pod_that_is_not_followed_is_read(
    kind: str | None,
) -> None:
    at = Entrance()
    at.watch_events.pod_event(kind, pod(job_name="forgotten"))
    assert await at.due() == ["forgotten"]
    at.watch_events.pod_event(kind, pod(job_name="forgotten", phase="Succeeded"))
    at.watch_events.pod_event("DELETED", pod(job_name="forgotten"))
    assert await at.due() == []


async def test_pod_events_of_a_job_that_waits_for_an_entry_enqueue_nothing() -> None:
    at = Entrance(max_jobs=1)
    at.watch_events.job_event("ADDED", job("live", uid="live"))
    at.watch_events.job_event("ADDED", job(status=QUEUED))
    await at.due()
    at.watch_events.pod_event("MODIFIED", pod(phase="Running"))
    assert await at.due() == []


async def test_a_deleted_job_leaves_no_timer_even_if_the_index_had_evicted_it() -> None:
    entrance = Entrance()
    entrance.queue.add_after(KEY, 3600)
    entrance.watch_events.job_event("DELETED", job(status=COMPLETE))
    assert len(entrance.queue) == 0


async def test_the_deletion_of_an_old_job_removes_nothing_of_the_recreated_one() -> None:
    entrance = Entrance()
    entrance.watch_events.job_event("ADDED", job(uid="new", version=9))
    entrance.queue.add_after(KEY, 3600)
    entrance.watch_events.job_event("DELETED", job(uid="old", version=8))
    assert KEY in entrance.index
    assert await entrance.due() == ["mnist"]
    assert len(entrance.queue) == 1, "its appointment stands"
    entrance.queue.close()
