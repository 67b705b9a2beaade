"""Lists of pods are compared page by page: the cost, and changes between two pages."""

import gc
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.reconcile_passes import reconcile_until_settled
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import LoopClock, in_simulated_time
from trainingjob_api.errors import GoneError
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.core.pod import PodView
from trainingjob_operator.jobs.job_entry import JobEntry
from trainingjob_operator.kube.cluster import Page

KEY = JobKey("ml", "mnist")


def views() -> int:
    """How many views of pods there are in memory."""
    return sum(type(each) is PodView for each in gc.get_objects())


def entry(life: SimulatedOperator, name: str = "mnist") -> JobEntry:
    found = life.index.get(JobKey("ml", name))
    assert found is not None
    return found


def before_each_page(cluster: FakeCluster, do: Callable[[int], Any]) -> None:
    """Do something before each page of pods is delivered, with the page's number."""
    list_pods = cluster.list_pods

    async def list_and_do(namespace: str | None, *, selector: str = "") -> AsyncIterator[Page]:
        number = 0
        async for page in list_pods(namespace, selector=selector):
            do(number)
            yield page
            number += 1

    cluster.list_pods = list_and_do  # type: ignore[method-assign]


async def launched(*jobs: str, nodes: int = 2) -> tuple[FakeCluster, SimulatedOperator]:
    """Jobs whose ranks run, and an operator that watches and has made a pass over each."""
    cluster = FakeCluster(LoopClock())
    life = SimulatedOperator(cluster)
    await life.resync.resync_until_done()
    cluster.connect(life.watch_events)
    for name in jobs:
        cluster.create_job(make_job(name, nodes=nodes))
        await reconcile_until_settled(life, JobKey("ml", name))
    for pod in cluster.pods():
        cluster.run_pod(pod)
    for name in jobs:
        await reconcile_until_settled(life, JobKey("ml", name))
    while life.queue.depth:
        life.queue.done(await life.queue.get())
    return cluster, life


@in_simulated_time
async def test_a_comparison_keeps_no_second_picture_of_the_pods() -> None:
    cluster, life = await launched(*(f"job-{n}" for n in range(8)), nodes=20)
    cluster.page_size = 10
    known = views()
    counted: list[int] = []
    before_each_page(cluster, lambda number: counted.append(views()))
    await life.resync.resync_until_done()
    assert known >= 160
    assert len(counted) == 16
    assert max(counted) - known <= 2


@in_simulated_time
async def test_a_pod_that_is_deleted_after_its_page_was_read_stays_deleted() -> None:
    cluster, life = await launched("mnist")
    cluster.page_size = 1

    def lose(number: int) -> None:
        if number == 1:
            pod = entry(life).pods[cluster.pod(0, 0)["metadata"]["name"]]
            life.index.forget_pod(pod, is_final=True)

    before_each_page(cluster, lose)
    await life.resync.resync_until_done()
    assert [pod.index for pod in entry(life).pods.values()] == [1]
    assert entry(life).vanished == {0}


@in_simulated_time
async def test_a_list_that_breaks_off_forgets_no_pod_and_keeps_what_it_has_brought() -> None:
    cluster, life = await launched("mnist")
    cluster.pod_watch.hold()
    cluster.finish_pod(cluster.pod(0, 0), exit_code=3)
    cluster.lose_pod(cluster.pod(0, 1))
    cluster.page_size = 1
    list_pods = cluster.list_pods

    async def break_off(namespace: str | None, *, selector: str = "") -> AsyncIterator[Page]:
        async for page in list_pods(namespace, selector=selector):
            yield page
            raise GoneError("the continue token has expired")

    cluster.list_pods = break_off  # type: ignore[method-assign]
    assert not await life.resync._try()
    assert {pod.index: pod.exit_code for pod in entry(life).pods.values()} == {0: 3, 1: None}
    assert entry(life).vanished == frozenset()
    # The watch tells of the same afterwards, which is nothing new then: the pass is due already.
    assert await life.queue.get() == KEY
    life.queue.done(KEY)
    cluster.list_pods = list_pods  # type: ignore[method-assign]
    await life.resync.resync_until_done()
    assert entry(life).vanished == {1}


@in_simulated_time
async def test_a_job_that_comes_between_two_pages_is_not_judged_by_the_rest_of_the_list() -> None:
    cluster, life = await launched("mnist", "other")
    cluster.page_size = 1
    job, pods = entry(life).job, tuple(entry(life).pods.values())

    def bring_back(number: int) -> None:
        if number == 0:
            life.index.forget_job(job.key, job.uid)
        if number == 3:  # all pods but the last have been listed
            life.index.observe_job(job)
            for pod in pods:
                life.index.observe_pod(pod)

    before_each_page(cluster, bring_back)
    await life.resync.resync_until_done()
    assert len(entry(life).pods) == 2
    assert entry(life).vanished == frozenset()
    assert not entry(life).pods_known, "they are read before anything is concluded"


@in_simulated_time
async def test_a_listed_pod_of_the_same_name_means_that_the_old_one_was_deleted() -> None:
    cluster, life = await launched("mnist")
    raw = cluster.pod(0, 1)
    cluster.pod_watch.hold()
    cluster.lose_pod(raw)
    cluster.create_foreign("pods", raw)
    await life.resync.resync_until_done()
    assert entry(life).vanished == {1}
    held = entry(life).pods[raw["metadata"]["name"]]
    assert held.uid == cluster.pod(0, 1)["metadata"]["uid"] != raw["metadata"]["uid"]


@in_simulated_time
async def test_a_pod_that_is_older_in_a_later_list_is_as_the_list_has_it() -> None:
    """As after the restore of a backup."""
    cluster, life = await launched("mnist")
    name = cluster.pod(0, 0)["metadata"]["name"]
    known = entry(life).pods[name]
    for number in range(3):
        cluster.create_job(make_job(f"later-{number}"))
    newer = str(int(known.resource_version) + 1)
    entry(life).pods[name] = replace(known, resource_version=newer, deleting=True)
    await life.resync.resync_until_done()
    assert entry(life).pods[name] == known
