"""The pod limit: what it counts, and that a job that does not start never blocks the queue."""

import random
from dataclasses import replace

from tests.support.views import at, make_pod, make_status, make_view
from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.core.pod import PodView
from trainingjob_operator.jobs.job_entry import JobEntry
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.pod_limit import TURN_S


class Cluster:
    """An index, and a clock that is turned by hand."""

    def __init__(self, max_pods: int) -> None:
        self.now = 0.0
        self.called: list[str] = []
        self.index = JobIndex(
            100,
            max_pods=max_pods,
            monotonic=lambda: self.now,
            on_turn=lambda key: self.called.append(key.name),
        )

    def add(self, name: str, nodes: int, *, age_s: float = 0.0) -> JobEntry:
        """A job that is new."""
        key = JobKey("ml", name)
        job = make_view(nodes=nodes, key=key, uid=f"uid-of-{name}", created_at=at(-age_s))
        assert self.index.observe_job(job)
        entry = self.index.get(key)
        assert entry is not None
        return entry


def pod_of(job: JobView, index: int, version: int = 200) -> PodView:
    return replace(
        make_pod(index, attempt=job.status.attempt, resource_version=str(version)),
        name=f"{job.key.name}-{index}",
        uid=f"uid-of-{job.key.name}-{index}",
        namespace=job.key.namespace,
        job_name=job.key.name,
        owner_uid=job.uid,
    )


def test_a_called_job_that_does_not_start_loses_its_turn_after_a_while() -> None:
    cluster = Cluster(max_pods=5)
    first, broken, last = (cluster.add(name, 4, age_s=9 - n) for n, name in enumerate("abc"))
    assert cluster.index.reserve_pods(first)
    assert not cluster.index.reserve_pods(broken)
    assert not cluster.index.reserve_pods(last)
    cluster.index.forget_job(first.job.key, first.job.uid)
    assert cluster.called == ["b"]

    cluster.now += TURN_S
    assert not cluster.index.reserve_pods(last), "it is not over yet"
    cluster.now += 1
    assert cluster.index.reserve_pods(last)
    assert not cluster.index.reserve_pods(broken), "it waits anew"


def test_a_job_is_called_once() -> None:
    cluster = Cluster(max_pods=5)
    first, second = cluster.add("a", 5, age_s=2), cluster.add("b", 2, age_s=1)
    assert cluster.index.reserve_pods(first)
    assert not cluster.index.reserve_pods(second)
    for index in range(5):
        cluster.index.observe_pod(pod_of(first.job, index))
    assert not cluster.called
    ended = make_status(attempt=0, launched_attempt=0)
    cluster.index.observe_job(
        replace(
            first.job,
            status=ended,
            resource_version="300",
            spec=replace(first.job.spec, suspend=True),
        )
    )
    for index in range(5):
        cluster.index.forget_pod(pod_of(first.job, index))
    assert cluster.called == ["b"]


def test_no_job_waits_again_for_one_whose_pods_were_all_refused() -> None:
    cluster = Cluster(max_pods=10)
    refused, runs = cluster.add("refused", 8, age_s=9), cluster.add("runs", 6, age_s=8)
    assert cluster.index.reserve_pods(refused)
    cluster.index.release_pods(refused)
    assert cluster.index.reserve_pods(runs)
    assert not cluster.index.reserve_pods(refused)
    assert cluster.index.reserve_pods(cluster.add("small", 2)), "it waits for nobody"

    cluster.index.forget_job(runs.job.key, runs.job.uid)
    assert cluster.index.reserve_pods(refused), "there happens to be room"


def test_a_refused_job_is_queued_again_when_enough_ranks_have_started() -> None:
    cluster = Cluster(max_pods=4)
    refused = cluster.add("refused", 4, age_s=9)
    assert cluster.index.reserve_pods(refused)
    cluster.index.release_pods(refused)
    for number in range(4):
        runs = cluster.add(f"runs-{number}", 1)
        assert cluster.index.reserve_pods(runs)
        assert not cluster.index.reserve_pods(refused)
        if number < 3:
            assert not cluster.index.pod_limit.waiting
            cluster.index.forget_job(runs.job.key, runs.job.uid)
    assert list(cluster.index.pod_limit._requests) == [refused.job.key]
    assert not cluster.index.reserve_pods(cluster.add("late", 1))


def test_an_unused_reservation_is_not_counted_as_started() -> None:
    cluster = Cluster(max_pods=4)
    partly = cluster.add("partly", 4)
    assert cluster.index.reserve_pods(partly)
    cluster.index.observe_pod(pod_of(partly.job, 0))
    cluster.index.release_pods(partly)
    assert cluster.index.pod_limit._granted_total == 1


def test_forged_pods_give_a_job_no_reservation_for_which_others_wait() -> None:
    cluster = Cluster(max_pods=5)
    first, second = cluster.add("a", 4, age_s=2), cluster.add("b", 4, age_s=1)
    assert cluster.index.reserve_pods(first)
    assert not cluster.index.reserve_pods(second)
    cluster.index.observe_pod(pod_of(second.job, 0))
    assert not second.has_reservation
    assert cluster.index.pod_limit.used == 5
    assert not cluster.index.reserve_pods(second)


def test_what_is_counted_is_the_sum_whatever_happens() -> None:
    for seed in range(20):
        chance = random.Random(seed)
        cluster = Cluster(max_pods=12)
        for step in range(200):
            _something_happens(cluster, chance, version=1000 + step)
            room, entries = cluster.index.pod_limit, list(cluster.index)
            assert room.used == sum(entry.reserved_pods for entry in entries)
            assert all(entry.reserved_pods >= len(entry.pods) for entry in entries)
            assert len(room.waiting) == len(room._requests)
            assert all(key in cluster.index for key in room._requests)


def _something_happens(cluster: Cluster, chance: random.Random, *, version: int) -> None:
    index = cluster.index
    entry = index.get(JobKey("ml", chance.choice("abcdef")))
    if entry is None:
        cluster.add(chance.choice("abcdef"), chance.randrange(1, 8), age_s=chance.random())
        return
    job, rank = entry.job, chance.randrange(8)
    match chance.randrange(7):
        case 0:
            index.reserve_pods(entry)
        case 1:
            index.observe_pod(pod_of(job, rank, version))
        case 2:
            index.forget_pod(pod_of(job, rank, version))
        case 3:
            index.release_pods(entry)
        case 4:
            spec = replace(job.spec, suspend=not job.spec.suspend)
            index.observe_job(replace(job, spec=spec, resource_version=str(version)))
        case 5:
            status = replace(job.status, attempt=job.status.attempt + 1)
            index.observe_job(replace(job, status=status, resource_version=str(version)))
        case 6 if chance.random() < 0.3:
            index.forget_job(job.key, job.uid)
