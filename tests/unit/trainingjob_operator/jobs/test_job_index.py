"""The index: bounded, and never replaced by older versions of objects."""

import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from trainingjob_operator.core.job import Condition, JobKey, JobStatus, JobView
from trainingjob_operator.core.pod import PodPhase, PodView
from trainingjob_operator.jobs.job_index import JobIndex

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = JobKey("ml", "mnist")


def job(
    name: str = "mnist",
    *,
    uid: str = "",
    version: int = 1,
    finished: bool = False,
    attempt: int = 0,
) -> JobView:
    ended = Condition(
        type="Complete", status=True, reason="x", message="", last_transition_time=NOW
    )
    return JobView(
        key=JobKey("ml", name),
        uid=uid or f"uid-of-{name}",
        resource_version=str(version),
        generation=1,
        created_at=NOW,
        status=JobStatus(conditions=(ended,) if finished else (), attempt=attempt),
    )


def pod(index: int = 0, *, version: int = 1, uid: str = "", attempt: int = 0) -> PodView:
    return PodView(
        namespace="ml",
        name=f"mnist-{attempt}-{index}",
        uid=uid or f"pod-{attempt}-{index}",
        resource_version=str(version),
        job_name="mnist",
        owner_uid="uid-of-mnist",
        attempt=attempt,
        index=index,
    )


def test_the_index_never_holds_more_jobs_than_its_maximum() -> None:
    index = JobIndex(3)
    for number in range(10):
        index.observe_job(job(f"job-{number}", finished=True))
    assert len(index) == 3
    assert index.evicted_total == 7


def test_the_oldest_finished_job_makes_room_and_a_live_one_never_does() -> None:
    index = JobIndex(3)
    index.observe_job(job("live"))
    index.observe_job(job("old", finished=True))
    index.observe_job(job("new", finished=True))

    assert index.observe_job(job("next"))
    assert JobKey("ml", "old") not in index
    assert JobKey("ml", "live") in index


def test_a_job_that_was_edited_back_to_life_is_a_live_one() -> None:
    index = JobIndex(1)
    index.observe_job(job("first", version=1, finished=True))
    index.observe_job(job("first", version=2))
    assert not index.observe_job(job("second"))
    assert JobKey("ml", "first") in index


def test_a_full_index_of_live_jobs_turns_new_ones_away() -> None:
    index = JobIndex(2)
    index.observe_job(job("a"))
    index.observe_job(job("b"))

    assert not index.observe_job(job("c"))
    assert (len(index), index.refused_total) == (2, 1)
    assert index.observe_job(job("a", version=2))  # one that is in is still followed


def test_older_versions_change_nothing() -> None:
    index = JobIndex(3)
    index.observe_job(job(version=10, attempt=1))
    index.observe_job(job(version=9, attempt=0))
    entry = index.get(KEY)
    assert entry is not None
    assert entry.job.status.attempt == 1


def test_the_end_of_the_old_does_not_remove_its_namesake() -> None:
    index = JobIndex(3)
    index.observe_job(job(uid="old", version=1))
    index.observe_job(job(uid="new", version=5))

    assert not index.forget_job(KEY, "old")
    entry = index.get(KEY)
    assert entry is not None
    assert entry.job.uid == "new"


def test_a_pod_of_another_uid_is_not_taken_in() -> None:
    index = JobIndex(3)
    index.observe_job(job())
    assert not index.observe_pod(replace(pod(), owner_uid="somebody-else"))


def test_only_a_change_that_matters_is_a_change() -> None:
    index = JobIndex(3)
    index.observe_job(job())
    assert index.observe_pod(pod(version=1))
    assert not index.observe_pod(pod(version=2))
    assert index.observe_pod(replace(pod(version=3), phase=PodPhase.RUNNING))
    assert not index.observe_pod(pod(version=2))


@pytest.mark.parametrize("completed", [True, False])
def test_the_result_of_a_deleted_pod_is_remembered(*, completed: bool) -> None:
    index = JobIndex(3)
    index.observe_job(job())
    index.observe_pod(pod())
    phase = PodPhase.SUCCEEDED if completed else PodPhase.RUNNING
    index.forget_pod(replace(pod(version=2), phase=phase))
    entry = index.get(KEY)
    assert entry is not None
    assert (set(entry.done), set(entry.vanished)) == (({0}, set()) if completed else (set(), {0}))


def test_a_deleted_pod_had_begun_if_any_report_of_it_says_so() -> None:
    index = JobIndex(3)
    of_three = replace(job().spec, num_nodes=3)
    index.observe_job(replace(job(), spec=of_three))
    idle = [replace(pod(rank), has_begun=False) for rank in range(3)]
    for each in idle:
        index.observe_pod(each)
    index.observe_pod(pod(0, version=2))  # it begins
    index.forget_pod(replace(idle[0], resource_version="3"), is_final=True)
    index.forget_pod(pod(1, version=3), is_final=True)
    index.forget_pod(replace(idle[2], resource_version="3"), is_final=True)
    entry = index.get(KEY)
    assert entry is not None
    assert (set(entry.begun), set(entry.unbegun)) == ({0, 1}, {2})
    index.observe_job(replace(job(version=9, attempt=1), spec=of_three))
    assert not entry.begun | entry.unbegun


def test_the_end_of_a_deleted_pod_of_the_current_attempt_is_remembered() -> None:
    index = JobIndex(1)
    index.observe_job(job())
    failed = replace(pod(version=2), phase=PodPhase.FAILED, exit_code=1, message="x" * 1000)
    entry = index.get(KEY)
    assert entry is not None

    index.observe_pod(pod(1))
    index.forget_pod(pod(1, version=2))
    index.forget_pod(replace(pod(attempt=7), phase=PodPhase.FAILED))
    assert entry.ended is None
    for _ in range(3):  # pods of one rank, one after the other
        index.forget_pod(failed)
    assert entry.ended is not None
    [remembered] = entry.ended.values()
    assert (remembered.exit_code, len(remembered.message)) == (1, 128)

    index.observe_job(job(version=5, attempt=1))
    assert entry.ended is None
    index.observe_job(job(version=6, attempt=1, finished=True))
    index.forget_pod(replace(pod(attempt=1), phase=PodPhase.FAILED))
    assert entry.ended is None


def test_a_late_answer_to_our_post_does_not_bring_a_pod_back() -> None:
    index = JobIndex(3)
    index.observe_job(job())
    index.observe_pod(pod(version=1))
    index.forget_pod(pod(version=2))

    assert not index.observe_pod(pod(version=1))
    entry = index.get(KEY)
    assert entry is not None
    assert entry.pods == {}


def test_what_is_remembered_of_pods_that_went_does_not_grow_with_restarts_or_forgeries() -> None:
    index = JobIndex(3)
    index.observe_job(job())
    for number in range(1000):
        forged = replace(pod(number, uid=f"uid-{number}"), name=f"forged-{number}")
        index.observe_pod(forged)
        index.forget_pod(forged)
    entry = index.get(KEY)
    assert entry is not None
    assert 0 < len(entry.deleted_uids or ()) < 20
    assert entry.vanished == {0}


def take_list(index: JobIndex, *pods: PodView, version: str) -> None:
    """Take in a complete list of the job's pods."""
    for listed in pods:
        index.observe_listed(listed, version)
    entry = index.get(KEY)
    assert entry is not None
    index.forget_unlisted(entry, {listed.uid for listed in pods}, version)


def test_a_list_removes_what_it_lacks_unless_that_is_newer() -> None:
    index = JobIndex(3)
    index.observe_job(job())
    index.observe_pod(pod(0, version=5))
    index.observe_pod(pod(1, version=50))

    take_list(index, pod(2, version=7), version="20")

    entry = index.get(KEY)
    assert entry is not None
    assert sorted(p.index for p in entry.pods.values()) == [1, 2]
    assert entry.vanished == {0}


def test_a_new_attempt_forgets_what_went_in_the_last() -> None:
    index = JobIndex(3)
    index.observe_job(job(version=1))
    index.observe_pod(pod())
    index.forget_pod(pod(version=2))
    index.observe_job(job(version=3, attempt=1))
    entry = index.get(KEY)
    assert entry is not None
    assert entry.vanished == set()


def finished_at(name: str, seconds: int) -> JobView:
    ended = job(name, finished=True)
    completed = NOW + timedelta(seconds=seconds)
    status = replace(ended.status, completion_time=completed, record_state="Pending")
    return replace(ended, status=status)


def test_old_finished_jobs_are_forgotten_whatever_became_of_their_records() -> None:
    index = JobIndex(10)
    for number in (3, 1, 2):
        index.observe_job(finished_at(f"job-{number}", number))
    index.observe_job(job("live"))
    assert index.evict_finished_before(NOW + timedelta(seconds=3)) == 2
    assert sorted(entry.job.key.name for entry in index) == ["job-3", "live"]
    assert index.evict_finished_before(NOW + timedelta(seconds=3)) == 0
    assert index.forgotten_total == 2


def test_a_job_without_a_completion_time_ended_when_its_terminal_condition_became_true() -> None:
    index = JobIndex(10)
    ended = job(finished=True)  # its condition is of NOW
    index.observe_job(replace(ended, created_at=NOW - timedelta(days=2)))
    assert index.evict_finished_before(NOW) == 0
    assert index.evict_finished_before(NOW + timedelta(seconds=1)) == 1


def test_a_finished_job_is_not_forgotten_while_a_pod_of_it_runs() -> None:
    index = JobIndex(10)
    index.observe_job(finished_at("mnist", 1))
    index.observe_job(finished_at("other", 2))
    index.observe_pod(pod())
    assert index.evict_finished_before(NOW + timedelta(days=1)) == 1
    assert KEY in index
    index.forget_pod(pod())
    assert index.evict_finished_before(NOW + timedelta(days=1)) == 1
    assert len(index) == 0


def test_a_pod_that_has_ended_and_stays_does_not_hold_its_job_in_memory() -> None:
    index = JobIndex(10)
    index.observe_job(job(version=1))
    index.observe_pod(replace(pod(), phase=PodPhase.SUCCEEDED))
    index.observe_job(replace(finished_at("mnist", 1), resource_version="2"))
    assert index.evict_finished_before(NOW + timedelta(days=1)) == 1


def test_a_job_without_pods_keeps_no_memory_for_them() -> None:
    index = JobIndex(5)
    index.observe_job(job())
    index.observe_pod(pod())
    index.forget_pod(pod())
    entry = index.get(job().key)
    assert entry is not None
    assert sys.getsizeof(entry.pods) == sys.getsizeof({})


def test_a_job_that_waits_is_called_when_old_ones_are_forgotten() -> None:
    called: list[JobKey] = []
    index = JobIndex(1, on_turn=called.append)
    index.observe_job(replace(finished_at("mnist", 1)))
    index.observe_pod(pod())
    index.forget_pod(pod())
    index.observe_job(job("live"))  # takes the place of the finished one
    index.observe_job(job("waits"))
    assert called == []
    index.observe_job(replace(finished_at("live", 1), resource_version="2"))
    assert called[-1] == JobKey("ml", "waits")
    called.clear()
    index.evict_finished_before(NOW + timedelta(days=1))
    assert called == [JobKey("ml", "waits")]


def test_the_job_that_finished_first_is_evicted_first() -> None:
    index = JobIndex(2)
    index.observe_job(finished_at("late", 9))
    index.observe_job(finished_at("early", 1))
    index.observe_job(job("live"))
    assert sorted(entry.job.key.name for entry in index) == ["late", "live"]


def test_the_index_is_done_with_an_ended_pod_of_a_job_that_is_over_and_with_no_other() -> None:
    index = JobIndex(10)
    ended = replace(pod(), phase=PodPhase.SUCCEEDED)
    assert not index.ignores_pod(ended), "its job may be on its way into the index"
    index.observe_job(job())
    assert not index.ignores_pod(ended)

    index.observe_job(job(version=2, finished=True))

    assert index.ignores_pod(ended)
    assert not index.ignores_pod(replace(ended, phase=PodPhase.RUNNING))
    assert not index.ignores_pod(replace(ended, owner_uid="somebody-else"))


def test_a_later_list_of_pods_holds_even_where_it_is_older_than_what_was_known() -> None:
    index = JobIndex(3)
    index.observe_job(job())
    index.observe_pod(pod(0, version=50))

    take_list(index, pod(0, version=20), version="49")  # a list from before
    take_list(index, pod(1, version=20), version="49")
    entry = index.get(KEY)
    assert entry is not None
    assert entry.pods["mnist-0-0"].resource_version == "50"

    take_list(index, pod(0, version=20), version="50")
    assert entry.pods["mnist-0-0"].resource_version == "20"


# --- settled jobs -----------------------------------------------------------------------------


def test_a_settled_job_is_evicted_as_a_finished_one_is() -> None:
    forgotten: list[JobKey] = []
    index = JobIndex(2, on_forgotten=forgotten.append)
    for name in ("parked", "live"):
        index.observe_job(job(name))
    index.settle(JobKey("ml", "parked"), NOW)

    assert index.observe_job(job("next"))
    assert forgotten == [JobKey("ml", "parked")]
    assert JobKey("ml", "live") in index
    assert not index.observe_job(job("one too many"))


def test_settled_and_finished_jobs_are_evicted_in_the_order_of_their_time() -> None:
    index = JobIndex(3)
    index.observe_job(job("finished", finished=True))
    for name, since in (("later", 1), ("earlier", -1)):
        index.observe_job(job(name))
        index.settle(JobKey("ml", name), NOW + timedelta(seconds=since))
    for number, goes in enumerate(("earlier", "finished", "later")):
        assert index.observe_job(job(f"live-{number}"))
        assert JobKey("ml", goes) not in index


@pytest.mark.parametrize("change", ["job", "pod", "list"])
def test_a_settled_job_that_changes_stays_until_it_is_settled_again(change: str) -> None:
    index = JobIndex(1)
    index.observe_job(job())
    index.settle(KEY, NOW)
    if change == "job":
        index.observe_job(job(version=2))
    elif change == "pod":
        index.observe_pod(pod())
    else:
        take_list(index, pod(), version="1")
    assert not index.observe_job(job("next"))
    assert KEY in index

    take_list(index, version="2")
    index.settle(KEY, NOW)
    assert index.observe_job(job("next"))


def test_a_job_is_not_settled_while_it_has_pods_or_its_pods_are_unknown() -> None:
    index = JobIndex(1)
    index.observe_job(job(attempt=1))
    index.settle(KEY, NOW)
    assert not index.observe_job(job("next")), "its pods were not listed"
    take_list(index, pod(), version="1")
    index.settle(KEY, NOW)
    assert not index.observe_job(job("next")), "it has one"
    index.settle(JobKey("ml", "no such job"), NOW)


def test_a_settled_job_that_is_over_leaves_by_the_time_of_its_end() -> None:
    index = JobIndex(2)
    index.observe_job(job())
    index.settle(KEY, NOW - timedelta(hours=5))
    index.observe_job(job(version=2, finished=True))
    assert index.evict_finished_before(NOW - timedelta(hours=1)) == 0
    assert index.evict_finished_before(NOW + timedelta(seconds=1)) == 1


def test_settled_jobs_leave_memory_with_age() -> None:
    index = JobIndex(10)
    for number in range(5):
        index.observe_job(job(f"job-{number}"))
        index.settle(JobKey("ml", f"job-{number}"), NOW + timedelta(seconds=number))
    assert index.evict_finished_before(NOW + timedelta(seconds=3)) == 3
    assert len(index) == 2


def test_settled_jobs_do_not_count_for_their_namespace() -> None:
    index = JobIndex(3)
    for number in range(2):
        index.observe_job(job(f"parked-{number}"))
        index.settle(JobKey("ml", f"parked-{number}"), NOW)
    others = [replace(job(name), key=JobKey("ops", name)) for name in ("a", "b", "c")]
    for other in others:
        index.observe_job(other)
    assert not index.observe_job(job("resumed"))
    assert not index.observe_job(replace(job("d"), key=JobKey("ops", "d")))
    assert index.waiting.first == JobKey("ml", "resumed")
