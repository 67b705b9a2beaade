"""The fair queue of waiting jobs: oldest first, bounded, one item for each job."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.jobs.fair_queue import FairQueue

START = datetime(2026, 1, 1, tzinfo=UTC)


def job(name: str, created_s: int = 0, uid: str = "u1", *, namespace: str = "ml") -> JobView:
    return JobView(
        key=JobKey(namespace, name),
        uid=uid,
        resource_version="1",
        generation=1,
        created_at=START + timedelta(seconds=created_s),
    )


def test_the_oldest_is_first_and_of_the_same_age_the_first_by_name() -> None:
    queue = FairQueue()
    for one in (job("a", 5), job("c", 1), job("b", 1)):
        queue.add(one)
    order = []
    while queue.first is not None:
        order.append(queue.first.name)
        queue.remove(queue.first)
    assert order == ["b", "c", "a"]


def test_a_job_that_is_added_again_is_queued_once() -> None:
    queue = FairQueue()
    for _ in range(3):
        queue.add(job("a"))
    assert len(queue) == 1


def test_a_recreated_job_replaces_the_queued_one() -> None:
    queue = FairQueue()
    for one in (job("a", 1, "old"), job("b", 2), job("a", 3, "new")):
        queue.add(one)
    assert queue.first == JobKey("ml", "b")
    assert not queue.remove(JobKey("ml", "a"), "old")
    assert queue.remove(JobKey("ml", "a"), "new")


def test_a_waiting_job_is_ahead_of_younger_ones_only() -> None:
    queue = FairQueue()
    queue.add(job("waiting", 5))
    assert queue.has_job_before(job("younger", 6))
    assert not queue.has_job_before(job("older", 4))
    assert not queue.has_job_before(job("waiting", 5)), "nobody is before himself"
    assert not queue.has_job_before(job("waiting", 9, "namesake")), "whose predecessor is gone"


def test_at_the_limit_the_youngest_is_removed() -> None:
    queue = FairQueue(limit=2)
    for one in (job("old", 1), job("young", 9), job("middle", 5), job("youngest", 10)):
        queue.add(one)
    assert len(queue) == 2
    assert queue.has_job_before(job("x", 6))
    assert not queue.remove(JobKey("ml", "young"))
    assert not queue.remove(JobKey("ml", "youngest"))


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdef"), st.integers(0, 3), st.sampled_from("uv"), st.booleans()
        )
    )
)
def test_the_head_is_the_oldest_after_any_additions_and_removals(
    steps: list[tuple[str, int, str, bool]],
) -> None:
    queue, there = FairQueue(limit=4), dict[JobKey, JobView]()
    for name, created_s, uid, joins in steps:
        one = job(name, created_s, uid)
        if joins:
            queue.add(one)
            there[one.key] = one
            if len(there) > 4:
                del there[max(there.values(), key=lambda j: (j.created_at, j.key, j.uid)).key]
        else:
            queue.remove(one.key)
            there.pop(one.key, None)
        oldest = min(there.values(), key=lambda j: (j.created_at, j.key), default=None)
        assert queue.first == (oldest.key if oldest else None)
        assert len(queue) == len(there)


def test_the_namespace_with_the_fewest_live_jobs_is_first_however_young_its_jobs_are() -> None:
    live = {"many": 3, "few": 1}
    queue = FairQueue(live_in=lambda namespace: live.get(namespace, 0))
    for one in (
        job("a", 1, namespace="many"),
        job("b", 7, namespace="few"),
        job("c", 8, namespace="few"),
        job("d", 9, namespace="none"),
    ):
        queue.add(one)
    assert queue.first == JobKey("none", "d")
    queue.remove(JobKey("none", "d"))
    assert queue.first == JobKey("few", "b")
    assert queue.has_job_before(job("older", 0, namespace="many"))
    assert not queue.has_job_before(job("new", 99, namespace="none"))
    live["few"] = 4
    assert queue.first == JobKey("many", "a")


def test_at_the_limit_the_youngest_of_the_largest_namespace_is_removed() -> None:
    queue = FairQueue(limit=3)
    for number in range(3):
        queue.add(job(f"job-{number}", number, namespace="large"))
    queue.add(job("late", 99, namespace="small"))
    assert len(queue) == 3
    assert not queue.remove(JobKey("large", "job-2"))
    assert queue.remove(JobKey("small", "late"))
