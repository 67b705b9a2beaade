"""Logs are archived in the background, and no log holds its job for long."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.kubelet import Kubelet
from tests.support.cluster.memory_log_store import MemoryLogStore
from tests.support.cluster.objects import Crash
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import LoopClock, in_simulated_time
from tests.support.records.endpoint import FakeEndpoint
from trainingjob_api.constants import REASON_VOLUME_UNAVAILABLE
from trainingjob_api.errors import (
    EntryError,
    ForbiddenError,
    RightMissingError,
    UnavailableError,
    VolumeError,
)
from trainingjob_operator.jobs.log_keeper import ASK_VOLUME_S
from trainingjob_operator.log_archive.archiver import DEADLINE_S, TRIES, VOLUME_RETRY_S

Object = dict[str, Any]
FULL = VolumeError("no space left on device", reason=REASON_VOLUME_UNAVAILABLE)
DEAD_NODE = UnavailableError("dial tcp 10.0.0.7:10250: i/o timeout", status=500)


@asynccontextmanager
async def operated(
    cluster: FakeCluster,
    store: MemoryLogStore,
    script: Callable[[int, int], int | None] = lambda attempt, rank: 0,
    *,
    idle: Collection[int] = (),
    **settings: Any,
) -> AsyncIterator[SimulatedOperator]:
    """An operator with a log volume, and a kubelet that runs every pod for two seconds."""
    async with SimulatedOperator(cluster, store=store, **settings) as life:
        kubelet = asyncio.create_task(Kubelet(cluster, script, idle=idle).run())
        try:
            yield life
        finally:
            kubelet.cancel()
            await asyncio.wait([kubelet])


async def until(holds: Callable[[], bool], patience_s: float) -> None:
    async with asyncio.timeout(patience_s):
        while not holds():
            await asyncio.sleep(0.25)


def staged() -> tuple[FakeCluster, MemoryLogStore]:
    cluster = FakeCluster(LoopClock())
    return cluster, MemoryLogStore(cluster)


def logs(cluster: FakeCluster, name: str = "mnist") -> tuple[str, str, str]:
    """Status, reason and message of `LogsArchived`; empty while it is not there."""
    conditions: list[Object] = cluster.status(name).get("conditions", [])
    found = [c for c in conditions if c["type"] == "LogsArchived"]
    return (found[0]["status"], found[0]["reason"], found[0]["message"]) if found else ("", "", "")


def is_settled(cluster: FakeCluster, name: str = "mnist") -> bool:
    return logs(cluster, name)[1] not in {"", "Pending"} and bool(
        cluster.status(name).get("completionTime")
    )


def calls(cluster: FakeCluster, method: str) -> int:
    return sum(call.method == method for call in cluster.calls)


def gone(cluster: FakeCluster) -> bool:
    return cluster.pods() == []


# --- a log that cannot be read --------------------------------------------------------------------


@in_simulated_time
async def test_on_a_dead_node_a_log_is_given_up_and_its_pod_is_deleted() -> None:
    cluster, store = staged()
    cluster.create_job(make_job(cleanPodPolicy="All"))
    cluster.fail_next("pod_log", DEAD_NODE, times=1000)
    async with operated(cluster, store):
        await until(lambda: bool(cluster.status().get("completionTime")), 10)
        ended_at = cluster.clock.monotonic()
        await until(lambda: is_settled(cluster) and gone(cluster), DEADLINE_S + 1)
        assert cluster.clock.monotonic() - ended_at < 10
    assert calls(cluster, "pod_log") == TRIES
    status, reason, message = logs(cluster)
    assert (status, reason) == ("False", "Truncated")
    assert "rank 0 of attempt 0" in message
    assert "i/o timeout" in message


@in_simulated_time
async def test_a_forbidden_log_is_not_requested_twice() -> None:
    cluster, store = staged()
    cluster.create_job(make_job(cleanPodPolicy="All"))
    cluster.fail_next("pod_log", ForbiddenError("pods/log is forbidden", status=403))
    async with operated(cluster, store):
        await until(lambda: is_settled(cluster) and gone(cluster), 10)
    assert calls(cluster, "pod_log") == 1
    assert "pods/log is forbidden" in logs(cluster)[2]


@in_simulated_time
async def test_a_right_that_is_missing_for_a_moment_costs_nothing_of_the_log() -> None:
    cluster, store = staged()
    cluster.create_job(make_job(cleanPodPolicy="All"))
    cluster.fail_next("pod_log", RightMissingError("no right", status=403), times=TRIES - 1)
    async with operated(cluster, store):
        await until(lambda: is_settled(cluster) and gone(cluster), 20)
    assert logs(cluster)[:2] == ("True", "Archived")


@in_simulated_time
async def test_a_fault_that_passes_costs_nothing_of_the_log() -> None:
    cluster, store = staged()
    job = cluster.create_job(make_job(nodes=2))
    cluster.fail_next("pod_log", DEAD_NODE, times=TRIES - 1)
    async with operated(cluster, store):
        await until(lambda: is_settled(cluster), 20)
    assert logs(cluster)[:2] == ("True", "Archived")
    assert sorted(store.headers(job["metadata"]["uid"])) == sorted(cluster.started)


@in_simulated_time
async def test_the_log_of_a_pod_that_is_deleted_before_it_is_read_is_reported_as_missing() -> None:
    cluster, store = staged()
    cluster.create_job(make_job())
    cluster.before["pod_log"] = lambda: cluster.lose_pod(cluster.pod())
    async with operated(cluster, store):
        await until(lambda: is_settled(cluster), 10)
    assert logs(cluster)[:2] == ("False", "Truncated")
    assert "not found" in logs(cluster)[2]


@in_simulated_time
async def test_a_log_that_never_ends_is_given_up_after_a_minute() -> None:
    cluster, store = staged()
    cluster.create_job(make_job(nodes=2, backoff_limit=1))
    stuck = asyncio.Event()

    async def hang(*_: object) -> Any:
        await stuck.wait()

    store.open = hang  # type: ignore[assignment]
    async with operated(cluster, store, lambda attempt, rank: 1 - rank if attempt == 0 else 0):
        await until(lambda: cluster.status().get("attempt") == 1, 10)
        held_at = cluster.clock.monotonic()
        await until(lambda: cluster.status().get("launchedAttempt") == 1, DEADLINE_S + 10)
        assert cluster.clock.monotonic() - held_at >= DEADLINE_S - 1
        await until(lambda: is_settled(cluster), DEADLINE_S + 10)
    assert cluster.status()["phase"] == "Succeeded"
    assert logs(cluster)[:2] == ("False", "Truncated")


# --- a volume that does not take it ---------------------------------------------------------------


@in_simulated_time
async def test_a_broken_volume_neither_stops_nor_delays_a_job() -> None:
    cluster, store = staged()
    store.fault = FULL
    cluster.create_job(make_job(cleanPodPolicy="All"))
    async with operated(cluster, store):
        await until(lambda: bool(cluster.status().get("startTime")), 1)
        assert logs(cluster) == ("False", "VolumeUnavailable", "no space left on device")
        await until(lambda: is_settled(cluster) and gone(cluster), 30)
    assert cluster.status()["phase"] == "Succeeded"
    assert logs(cluster)[:2] == ("False", "VolumeUnavailable")


@in_simulated_time
async def test_the_error_of_the_volume_is_kept_until_a_log_is_archived() -> None:
    cluster, store = staged()
    async with operated(cluster, store) as life:
        assert life.archiver is not None
        assert life.archiver.volume_fault is None
        store.fault = FULL
        cluster.create_job(make_job())
        await until(lambda: is_settled(cluster), 30)
        store.fault = None
        await asyncio.sleep(3600)
        assert life.archiver.volume_fault is FULL, "nobody has tried since"
        cluster.delete_job()
        cluster.create_job(make_job())
        await until(lambda: is_settled(cluster), 30)
        assert life.archiver.volume_fault is None


@in_simulated_time
async def test_a_broken_volume_is_tried_at_intervals_and_not_for_every_job() -> None:
    cluster, store = staged()
    store.fault = FULL
    names = [f"job-{number}" for number in range(50)]
    for name in names:
        cluster.create_job(make_job(name))
    async with operated(cluster, store):
        begun = cluster.clock.monotonic()
        await until(lambda: all(is_settled(cluster, name) for name in names), 60)
        took = cluster.clock.monotonic() - begun
    asked = calls(cluster, "volume.open") + calls(cluster, "volume.prepare")
    assert asked < 50 * (1 + took / VOLUME_RETRY_S)
    assert took < DEADLINE_S


@in_simulated_time
async def test_an_error_of_one_jobs_entry_costs_no_other_job_its_log() -> None:
    cluster, store = staged()
    store.entry_faults["closed"] = EntryError("job_1 does not let the operator in")
    async with operated(cluster, store) as life:
        cluster.create_job(make_job("closed"))
        await until(lambda: is_settled(cluster, "closed"), 60)
        other = cluster.create_job(make_job("other"))
        await until(lambda: is_settled(cluster, "other"), 60)
        assert life.archiver is not None
        assert life.archiver.volume_error == ""
        assert life.archiver.volume_fault is None
    assert logs(cluster, "closed")[0] == "False"
    assert "does not let the operator in" in logs(cluster, "closed")[2]
    assert logs(cluster, "other")[:2] == ("True", "Archived")
    assert store.prepared == [other["metadata"]["uid"]]


@in_simulated_time
async def test_a_repaired_volume_gets_directory_and_logs() -> None:
    cluster, store = staged()
    store.fault = FULL
    job = cluster.create_job(make_job())
    async with operated(cluster, store, lambda attempt, rank: None):
        await until(lambda: bool(cluster.status().get("startTime")), 1)
        store.fault = None
        uid = job["metadata"]["uid"]
        await until(lambda: store.prepared == [uid], 2 * ASK_VOLUME_S)  # while it runs
        cluster.finish_pod(cluster.pod())
        await until(lambda: is_settled(cluster), 10)
    assert logs(cluster)[:2] == ("True", "Archived")
    assert store.headers(job["metadata"]["uid"]) == cluster.started


# --- bounds, and what memory forgets --------------------------------------------------------------


@in_simulated_time
async def test_more_logs_than_the_queue_holds_are_requested_again() -> None:
    cluster, store = staged()
    job = cluster.create_job(make_job(nodes=5, cleanPodPolicy="All"))
    async with operated(cluster, store, max_waiting=2) as life:
        assert life.archiver is not None
        await until(lambda: is_settled(cluster) and gone(cluster), 30)
        assert life.archiver.queue.refused_total > 0
        assert life.archiver.queue.outcomes_kept == 0
    assert sorted(store.headers(job["metadata"]["uid"])) == sorted(cluster.started)


@in_simulated_time
async def test_a_job_that_the_index_has_forgotten_gets_its_logs_archived() -> None:
    cluster, store = staged()
    first = cluster.create_job(make_job("first"))
    async with operated(cluster, store, max_jobs=1):
        cluster.before["pod_log"] = lambda: cluster.create_job(make_job("second"))
        cluster.fail_next("pod_log", DEAD_NODE)
        await until(lambda: len(cluster.jobs()) > 1 and is_settled(cluster, "second"), 60)
        await until(lambda: is_settled(cluster, "first"), 60)
    assert logs(cluster, "first")[:2] == ("True", "Archived")
    assert len(store.headers(first["metadata"]["uid"])) == 1


@in_simulated_time
async def test_the_record_names_the_logs_and_is_sent_once() -> None:
    cluster, store = staged()
    endpoint = FakeEndpoint(cluster)
    cluster.create_job(make_job())
    cluster.fail_next("pod_log", DEAD_NODE)
    async with operated(cluster, store, endpoint=endpoint):
        await until(lambda: cluster.status().get("recordState") == "Pending", 10)
        assert endpoint.writes == []
        await until(lambda: cluster.status().get("recordState") == "Stored", 10)
    assert len(endpoint.writes) == 1
    assert endpoint.row()["logs"] == cluster.status()["logs"]
    assert endpoint.row()["logs"]["bytes"] > 100
    assert endpoint.row()["revision"] == 1


@in_simulated_time
async def test_of_a_one_pod_job_the_volume_costs_two_requests() -> None:
    counted = {}
    for volume in (False, True):
        cluster, store = staged()
        endpoint = FakeEndpoint(cluster)
        async with SimulatedOperator(cluster, store=store if volume else None, endpoint=endpoint):
            await asyncio.sleep(5)
            before = len(cluster.calls)
            cluster.create_job(make_job())
            await until(lambda c=cluster: len(c.pods()) == 1, 5)  # type: ignore[misc]
            await asyncio.sleep(1.5)
            cluster.run_pod(cluster.pod())
            cluster.finish_pod(cluster.pod())
            await until(lambda c=cluster: c.status().get("recordState") == "Stored", 5)  # type: ignore[misc]
            await asyncio.sleep(1)
            ours = [c.method for c in cluster.calls[before:] if not c.method.startswith("volume")]
        ours.remove("put_record")
        counted[volume] = ours
    assert len(counted[False]) <= 5, counted
    assert sorted(set(counted[True]) - set(counted[False])) == ["pod_log"]
    assert len(counted[True]) - len(counted[False]) == 2, counted


@in_simulated_time
async def test_the_note_of_what_is_still_to_be_archived_costs_no_status_write() -> None:
    cluster, store = staged()
    cluster.create_job(make_job(nodes=2, backoff_limit=1))
    async with operated(cluster, store, lambda attempt, rank: 1 - attempt):
        await until(lambda: is_settled(cluster), 30)
    written = [e.object["status"] for e in cluster.effects if e.method == "patch_job_status"]
    notes = [(status.get("logs") or {}).get("unread") for status in written]
    assert len(written) == 8
    assert [note for note in notes if note] == [[{"attempt": 0, "ranks": "0-1"}]]


@in_simulated_time
async def test_a_gang_is_torn_down_with_one_read_of_its_job() -> None:
    cluster, store = staged()
    cluster.create_job(make_job(nodes=20, backoff_limit=1))
    async with operated(cluster, store, lambda attempt, rank: 1 if attempt == 0 else None):
        await until(lambda: cluster.status().get("launchedAttempt") == 1, 20)
        made = [call.method for call in cluster.calls]
    assert made.count("delete_pod") == 20
    # One before the pods go, one before the next attempt, and as many in passes of another cause.
    assert made.count("get_job") <= 4


# --- ranks whose pods go unread -------------------------------------------------------------------


@in_simulated_time
async def test_the_log_of_a_rank_that_is_deleted_by_force_is_reported_as_missing() -> None:
    cluster, store = staged()
    cluster.create_job(make_job(nodes=2))
    async with operated(cluster, store, lambda attempt, rank: 0 if attempt else None):
        await until(lambda: len(cluster.started) == 2, 10)
        cluster.lose_pod(cluster.pods()[1])
        await until(lambda: is_settled(cluster), 30)
    assert cluster.status()["attempt"] == 1
    assert logs(cluster)[:2] == ("False", "Truncated")
    assert "the log of rank 1 of attempt 0 is missing" in logs(cluster)[2]


@in_simulated_time
async def test_logs_of_ranks_deleted_while_no_operator_runs_are_reported_as_missing() -> None:
    cluster, store = staged()
    cluster.create_job(make_job(nodes=3))
    async with operated(cluster, store, lambda attempt, rank: None):
        await until(lambda: cluster.status().get("ready") == 3, 10)
    for pod in cluster.pods()[1:]:
        cluster.lose_pod(pod)
    async with operated(cluster, store, lambda attempt, rank: 0):
        await until(lambda: is_settled(cluster), 30)
    assert logs(cluster)[:2] == ("False", "Truncated")
    assert "the logs of ranks 1-2 of attempt 0 are missing" in logs(cluster)[2]


@in_simulated_time
async def test_a_job_that_completes_while_the_operator_is_away_lacks_the_logs_that_went() -> None:
    cluster, store = staged()
    cluster.create_job(make_job(nodes=2))
    async with operated(cluster, store, lambda attempt, rank: None):
        await until(lambda: cluster.status().get("ready") == 2, 10)
        cluster.finish_pod(cluster.pods()[0])
        store.fault = FULL  # it is known to have completed, and its log is not archived
        await until(lambda: cluster.status().get("completedIndexes") == "0", 10)
    cluster.lose_pod(cluster.pods()[0])
    cluster.finish_pod(cluster.pod(index=1))
    store.fault = None
    async with operated(cluster, store):
        await until(lambda: is_settled(cluster), 30)
    assert cluster.status()["phase"] == "Succeeded"
    assert logs(cluster)[:2] == ("False", "Truncated")
    assert "the log of rank 0 of attempt 0 is missing" in logs(cluster)[2]


@in_simulated_time
async def test_an_archived_log_is_found_by_the_next_process_after_its_pod_was_deleted() -> None:
    cluster, store = staged()
    job = cluster.create_job(make_job(nodes=2))
    uid = job["metadata"]["uid"]
    async with operated(cluster, store, lambda attempt, rank: None):
        await until(lambda: cluster.status().get("ready") == 2, 10)
        cluster.finish_pod(cluster.pods()[0])
        await until(lambda: len(store.headers(uid)) == 1, 10)
        await until(lambda: cluster.status().get("completedIndexes") == "0", 10)
    cluster.lose_pod(cluster.pods()[0])
    async with operated(cluster, store):
        await until(lambda: is_settled(cluster), 30)
    assert logs(cluster)[:2] == ("True", "Archived")
    assert len(store.headers(uid)) == 2


@in_simulated_time
async def test_a_pod_that_begins_as_its_job_is_stopped_is_not_deleted_before_its_log_is_read() -> (
    None
):
    cluster, store = staged()
    job = cluster.create_job(make_job(nodes=2))
    async with operated(cluster, store, lambda attempt, rank: None, idle={1}):
        await until(lambda: cluster.status().get("ready") == 1, 10)
        cluster.pod_watch.hold()  # nobody hears of it but by a list
        cluster.before["delete_pod"] = lambda: cluster.run_pod(cluster.pod(0, 1))
        cluster.edit_job(shutdown="Stop")
        await until(lambda: len(cluster.started) == 2, 10)
        cluster.pod_watch.release()
        await until(lambda: is_settled(cluster), 30)
    assert logs(cluster)[:2] == ("True", "Archived")
    assert sorted(store.headers(job["metadata"]["uid"])) == sorted(cluster.started)


async def bumped_and_dead(cluster: FakeCluster, store: MemoryLogStore) -> None:
    """Let the operator write that attempt 0 is over, and die before a log of it is read."""
    cluster.before["pod_log"] = lambda: cluster.crash_at(len(cluster.calls), "before")
    with suppress(Crash):
        async with operated(cluster, store, lambda attempt, rank: None):
            await until(lambda: cluster.status().get("ready") == 3, 10)
            cluster.finish_pod(cluster.pod(0, 0), 1)
            await until(lambda: cluster.has_crashed, 10)
    cluster.before.pop("pod_log", None)
    cluster.revive()
    assert cluster.status()["attempt"] == 1
    assert len(cluster.pods()) == 3


@in_simulated_time
async def test_logs_of_an_earlier_attempt_that_go_while_the_operator_is_away_are_missing() -> None:
    cluster, store = staged()
    cluster.create_job(make_job(nodes=3, backoff_limit=1))
    await bumped_and_dead(cluster, store)
    for pod in cluster.pods()[1:]:
        cluster.lose_pod(pod)
    async with operated(cluster, store):
        await until(lambda: is_settled(cluster), 60)
    assert cluster.status()["phase"] == "Succeeded"
    assert logs(cluster)[:2] == ("False", "Truncated")
    assert "the logs of ranks 1-2 of attempt 0 are missing" in logs(cluster)[2]
    assert "unread" not in cluster.status()["logs"]


@in_simulated_time
async def test_logs_of_an_earlier_attempt_whose_pods_are_still_there_are_archived_later() -> None:
    cluster, store = staged()
    job = cluster.create_job(make_job(nodes=3, backoff_limit=1))
    await bumped_and_dead(cluster, store)
    async with operated(cluster, store):
        await until(lambda: is_settled(cluster), 60)
    assert logs(cluster)[:2] == ("True", "Archived")
    assert sorted(store.headers(job["metadata"]["uid"])) == sorted(cluster.started)
    assert len(cluster.started) == 6
    assert "unread" not in cluster.status()["logs"]


@in_simulated_time
async def test_a_suspended_job_is_not_settled_while_logs_are_to_be_looked_for() -> None:
    cluster, store = staged()
    cluster.create_job(make_job(nodes=3, backoff_limit=1))
    await bumped_and_dead(cluster, store)
    for pod in cluster.pods():
        cluster.lose_pod(pod)
    cluster.edit_job(suspend=True)
    cluster.create_job(make_job("live"))
    async with operated(cluster, store, max_jobs=1):
        await until(lambda: logs(cluster)[1] == "Truncated", 60)
        await until(lambda: is_settled(cluster, "live"), 60)  # it has left the one place there is
    assert "the logs of ranks 0-2 of attempt 0 are missing" in logs(cluster)[2]
    assert "unread" not in cluster.status()["logs"]


# --- containers beside the main one ---------------------------------------------------------------


@in_simulated_time
async def test_of_a_pod_whose_init_container_failed_that_log_is_archived() -> None:
    cluster, store = staged()
    template = {
        "spec": {
            "initContainers": [{"name": "fetch", "image": "fetch"}],
            "containers": [{"name": "trainer", "image": "trainer"}],
        }
    }
    job = cluster.create_job(make_job(template=template, backoff_limit=0))
    async with SimulatedOperator(cluster, store=store):
        await until(lambda: len(cluster.pods()) == 1, 5)
        cluster.fail_init_container(cluster.pod(), "fetch", 5)
        await until(lambda: is_settled(cluster), 10)
    assert logs(cluster)[:2] == ("True", "Archived")
    text = store.text(job["metadata"]["uid"])
    assert text.count("==> ") == 1
    assert " container fetch\n[rank 0] " in text
    failed = [c for c in cluster.status()["conditions"] if c["type"] == "Failed"]
    assert "init container fetch exited with code 5" in failed[0]["message"]
