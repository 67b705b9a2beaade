"""The resync: what it repairs, what it must not break, and when it runs."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import LoopClock, in_simulated_time
from trainingjob_api.errors import GoneError, UnavailableError
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.jobs.job_entry import JobEntry
from trainingjob_operator.kube.cluster import Page

KEY = JobKey("ml", "mnist")


def new_cluster(*jobs: str, nodes: int = 1) -> FakeCluster:
    cluster = FakeCluster(LoopClock())
    for name in jobs:
        cluster.create_job(make_job(name, nodes=nodes))
    return cluster


def entry(life: SimulatedOperator, key: JobKey = KEY) -> JobEntry:
    found = life.index.get(key)
    assert found is not None
    return found


async def launched(nodes: int = 2) -> tuple[FakeCluster, SimulatedOperator]:
    """A job whose ranks run, and an operator whose watches are open."""
    cluster = new_cluster("mnist", nodes=nodes)
    life = SimulatedOperator(cluster)
    await life.resync.resync_until_done()
    cluster.connect(life.watch_events)
    await life.reconciler.reconcile(KEY)
    for pod in cluster.pods():
        cluster.run_pod(pod)
    await asyncio.sleep(0.01)
    await life.reconciler.reconcile(KEY)
    await asyncio.sleep(0.01)
    return cluster, life


@in_simulated_time
async def test_the_first_pass_takes_in_all_pages_of_jobs_and_pods() -> None:
    cluster = new_cluster(*(f"job-{n}" for n in range(7)))
    async with SimulatedOperator(cluster):
        await asyncio.sleep(5)
    cluster.page_size = 2
    cluster.calls.clear()
    life = SimulatedOperator(cluster)
    await life.resync.resync_until_done()
    assert Counter(call.method for call in cluster.calls) == {"list_jobs": 4, "list_pods": 4}
    assert len(life.index) == 7
    assert all(len(one.pods) == 1 and one.pods_known for one in life.index)


@in_simulated_time
async def test_nothing_is_decided_before_the_first_pass_is_complete() -> None:
    cluster = new_cluster("mnist")
    cluster.fail_next("list_jobs", UnavailableError("503"), times=2)
    cluster.fail_next("list_pods", GoneError("expired"))
    life = SimulatedOperator(cluster)
    await life.resync.resync_until_done()
    assert {call.method for call in cluster.calls} == {"list_jobs", "list_pods"}
    assert life.resync.runs_total == 1
    assert KEY in life.index


@in_simulated_time
async def test_a_list_that_breaks_off_in_the_middle_removes_nothing() -> None:
    cluster = new_cluster("a", "b", "c")
    life = SimulatedOperator(cluster)
    await life.resync.resync_until_done()
    cluster.page_size = 1
    cluster.before["list_jobs"] = lambda: cluster.before.update(
        {"list_jobs": lambda: cluster.fail_next("list_jobs", GoneError("expired"))}
    )
    assert not await life.resync._try()
    assert len(life.index) == 3


@in_simulated_time
async def test_a_job_that_vanished_unseen_is_forgotten() -> None:
    cluster = new_cluster("mnist")
    life = SimulatedOperator(cluster)
    await life.resync.resync_until_done()
    cluster.delete_job()
    await life.resync.resync_until_done()
    assert KEY not in life.index
    assert life.resync.phantoms_total == 1


@in_simulated_time
async def test_a_job_that_is_newer_than_the_list_is_not_taken_for_vanished() -> None:
    cluster = new_cluster("old")
    life = SimulatedOperator(cluster)
    cluster.connect(life.watch_events)
    cluster.before["list_pods"] = lambda: cluster.create_job(make_job())  # after the list of jobs
    await life.resync.resync_until_done()
    assert KEY in life.index
    assert life.resync.phantoms_total == 0


@in_simulated_time
async def test_a_namesake_that_was_born_unseen_replaces_its_predecessor() -> None:
    cluster = new_cluster("mnist")
    life = SimulatedOperator(cluster)
    await life.resync.resync_until_done()
    cluster.delete_job()
    second = cluster.create_job(make_job())
    await life.resync.resync_until_done()
    assert entry(life).job.uid == second["metadata"]["uid"]


@in_simulated_time
async def test_a_pod_that_vanished_unseen_is_missing_afterwards() -> None:
    cluster, life = await launched()
    cluster.pod_watch.hold()
    cluster.lose_pod(cluster.pod(0, 1))
    await life.resync.resync_until_done()
    assert [pod.index for pod in entry(life).pods.values()] == [0]
    assert entry(life).vanished == {1}
    assert life.queue.depth == 1, "somebody must decide what that means"


@in_simulated_time
async def test_a_pod_that_is_newer_than_the_list_is_not_taken_for_vanished() -> None:
    cluster = new_cluster("mnist")
    life = SimulatedOperator(cluster)
    cluster.connect(life.watch_events)
    await life.resync.resync_until_done()
    list_pods = cluster.list_pods

    async def list_and_then_be_slow(namespace, *, selector=""):  # type: ignore[no-untyped-def]
        async for page in list_pods(namespace, selector=selector):
            await life.reconciler.reconcile(KEY)  # meanwhile a worker creates the pod
            yield page

    cluster.list_pods = list_and_then_be_slow  # type: ignore[method-assign]
    await life.resync.resync_until_done()
    assert [pod.index for pod in entry(life).pods.values()] == [0]
    assert entry(life).vanished == set()


@in_simulated_time
async def test_finished_jobs_of_long_ago_do_not_come_back() -> None:
    cluster = new_cluster("mnist")
    async with SimulatedOperator(cluster):
        await asyncio.sleep(1)
        cluster.run_pod(cluster.pod())
        cluster.finish_pod(cluster.pod())
        await asyncio.sleep(1)
    young = SimulatedOperator(cluster)
    await young.resync.resync_until_done()
    assert KEY in young.index
    await asyncio.sleep(3600)
    old = SimulatedOperator(cluster)
    await old.resync.resync_until_done()
    assert KEY not in old.index


@in_simulated_time
async def test_a_job_of_long_ago_without_a_completion_time_does_not_come_back_either() -> None:
    cluster = await finished("mnist")
    status = cluster.status()
    del status["completionTime"]
    cluster.set_job_status(KEY, status)
    await asyncio.sleep(7200)
    life = SimulatedOperator(cluster)
    await life.resync.resync_until_done()
    assert len(life.index) == 0


async def finished(*names: str, exit_code: int = 0) -> FakeCluster:
    """A cluster in which these jobs are over, and no operator runs."""
    cluster = new_cluster(*names)
    async with SimulatedOperator(cluster):
        await asyncio.sleep(1)
        for pod in cluster.pods():
            cluster.run_pod(pod)
            cluster.finish_pod(pod, exit_code)
        await asyncio.sleep(2)
    assert all(job["status"]["phase"] == "Succeeded" for job in cluster.jobs())
    return cluster


@in_simulated_time
async def test_finished_jobs_of_long_ago_cost_a_restarted_operator_nothing_but_lists() -> None:
    cluster = await finished(*(f"job-{n}" for n in range(9)))
    await asyncio.sleep(7200)
    cluster.calls.clear()
    async with SimulatedOperator(cluster) as life:
        await asyncio.sleep(10)
        assert len(life.index) == 0
    lists = {"list_jobs": 2, "list_pods": 2, "list_policies": 1}
    assert Counter(call.method for call in cluster.calls) == lists


@in_simulated_time
async def test_finished_jobs_do_not_throw_each_other_out_at_every_pass() -> None:
    cluster = await finished("a", "b", "c")
    async with SimulatedOperator(cluster, max_jobs=2, interval_s=60.0) as life:
        await asyncio.sleep(600)
        assert life.index.evicted_total == 0
        cluster.create_job(make_job("new"))
        await asyncio.sleep(600)
        assert life.index.evicted_total == 1
        assert JobKey("ml", "new") in life.index


@in_simulated_time
async def test_pods_that_a_job_left_behind_long_ago_are_taken_down() -> None:
    cluster = new_cluster("mnist")
    async with SimulatedOperator(cluster):
        await asyncio.sleep(1)
        cluster.run_pod(cluster.pod())
        await asyncio.sleep(2)
        cluster.fail_next("delete_pod", UnavailableError("503"), times=1000)
        cluster.edit_job(activeDeadlineSeconds=4)
        await asyncio.sleep(10)
    assert cluster.status()["phase"] == "Failed"
    await asyncio.sleep(7200)
    cluster._faults.clear()
    async with SimulatedOperator(cluster):
        await asyncio.sleep(1)
        cluster.reap()
        await asyncio.sleep(5)
    assert cluster.pods() == []
    assert cluster.status()["terminating"] == 0


@in_simulated_time
async def test_another_controllers_job_is_left_alone() -> None:
    cluster = new_cluster()
    cluster.create_job(make_job(managedBy="example.com/other"))
    async with SimulatedOperator(cluster) as life:
        await asyncio.sleep(5)
        assert len(life.index) == 0
    assert cluster.effects == []


@in_simulated_time
async def test_passes_are_made_at_every_interval_and_soon_after_a_request() -> None:
    cluster = new_cluster("mnist")
    async with SimulatedOperator(cluster, interval_s=100.0) as life:
        assert life.resync.runs_total == 1
        await asyncio.sleep(2)
        assert life.resync.runs_total == 2, "the watches were opened"
        await asyncio.sleep(96)
        assert life.resync.runs_total == 2
        await asyncio.sleep(4)
        assert life.resync.runs_total == 3
        for _ in range(50):  # a watch for jobs, one for pods, in many namespaces
            life.resync.request()
        await asyncio.sleep(5)
        assert life.resync.runs_total == 4


@in_simulated_time
async def test_a_pass_that_fails_is_repeated_soon() -> None:
    cluster = new_cluster("mnist")
    async with SimulatedOperator(cluster, interval_s=100.0) as life:
        await asyncio.sleep(50)
        before = life.resync.runs_total
        cluster.fail_next("list_pods", UnavailableError("503"), times=3)
        life.resync.request()
        await asyncio.sleep(1)
        assert life.resync.runs_total == before
        await asyncio.sleep(15)
        assert life.resync.runs_total == before + 1


@in_simulated_time
async def test_a_list_older_than_a_pods_end_does_not_hold_up_the_next_attempt() -> None:
    cluster, life = await launched()
    cluster.finish_pod(cluster.pod(0, 0), exit_code=1)
    await asyncio.sleep(0.01)
    await life.reconciler.reconcile(KEY)
    await asyncio.sleep(5)  # the back-off is over; rank 1 still ends
    # The list is read while rank 1 is there, and answered when it is gone.
    list_pods = cluster.list_pods

    async def list_and_then_be_slow(namespace, *, selector=""):  # type: ignore[no-untyped-def]
        async for page in list_pods(namespace, selector=selector):
            cluster.reap()
            await asyncio.sleep(0.01)
            yield page

    cluster.list_pods = list_and_then_be_slow  # type: ignore[method-assign]
    await life.resync.resync_until_done()
    while await life.reconciler.reconcile(KEY) == 0:
        await asyncio.sleep(0.01)
    assert cluster.status()["launchedAttempt"] == 1


@in_simulated_time
async def test_free_entries_go_to_the_oldest_jobs_of_all_namespaces() -> None:
    cluster = FakeCluster(LoopClock(), namespaces=("a", "b"))
    for name, namespace in (("oldest", "b"), ("newer", "a"), ("newest", "b")):
        cluster.create_job(make_job(name, namespace=namespace))
        await asyncio.sleep(1)
    life = SimulatedOperator(cluster, max_jobs=1, namespaces=("a", "b"))
    await life.resync.resync_until_done()
    assert [one.job.key.name for one in life.index] == ["oldest"]
    assert life.index.waiting.first == JobKey("a", "newer")


@in_simulated_time
async def test_a_bug_in_one_pass_ends_neither_the_resync_nor_lists_everything_in_a_loop() -> None:
    cluster = new_cluster("mnist")
    async with SimulatedOperator(cluster, interval_s=100.0) as life:
        await asyncio.sleep(50)
        list_pods, failures = cluster.list_pods, 0

        def fail(namespace: str | None, *, selector: str = "") -> AsyncIterator[Page]:
            nonlocal failures
            failures += 1
            raise ZeroDivisionError("a bug")

        cluster.list_pods = fail  # type: ignore[method-assign]
        await asyncio.sleep(300)
        assert failures == 3
        cluster.list_pods = list_pods  # type: ignore[method-assign]
        before = life.resync.runs_total
        await asyncio.sleep(100)
        assert life.resync.runs_total == before + 1


@in_simulated_time
async def test_a_job_that_is_over_and_whose_pods_have_ended_gets_no_pass() -> None:
    """There can be ten thousand of them, and live jobs would wait behind."""
    cluster, life = await launched()
    for pod in cluster.pods():
        cluster.finish_pod(pod)
    await asyncio.sleep(0.01)
    await life.reconciler.reconcile(KEY)
    assert entry(life).job.status.is_finished
    while life.queue.depth:
        life.queue.done(await life.queue.get())

    await life.resync.resync_until_done()

    assert len(cluster.pods()) == 2
    assert entry(life).pods == {}
    assert life.queue.depth == 0


@in_simulated_time
async def test_a_job_that_is_older_in_a_later_list_means_that_the_cluster_was_restored() -> None:
    cluster = new_cluster("mnist")
    life = SimulatedOperator(cluster)
    reasons: list[str] = []
    life.resync._on_rewind = reasons.append  # type: ignore[misc]
    await life.resync.resync_until_done()
    known = entry(life).job
    for number in range(3):
        cluster.create_job(make_job(f"later-{number}"))
    await life.resync.resync_until_done()
    assert reasons == []  # it is as it was, in a later list

    newer = str(int(known.resource_version) + 1)
    entry(life).job = replace(known, resource_version=newer)  # as it was before the restore
    await life.resync.resync_until_done()
    [why] = reasons
    assert f"from version {newer} to {known.resource_version}" in why


@in_simulated_time
async def test_a_live_read_that_is_older_than_what_was_known_means_the_same() -> None:
    cluster = new_cluster("mnist")
    life = SimulatedOperator(cluster)
    reasons: list[str] = []
    life.reconciler.live._on_rewind = reasons.append  # type: ignore[misc]
    await life.resync.resync_until_done()
    known = entry(life).job
    assert await life.reconciler.live.read_job(known) is not None
    with pytest.raises(UnavailableError, match="restore"):
        await life.reconciler.live.read_job(replace(known, resource_version="999"))
    assert len(reasons) == 1
