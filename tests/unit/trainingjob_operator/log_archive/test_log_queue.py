"""Waiting pods: round-robin over jobs, each pod once, and never above the limit."""

from trainingjob_operator.core.decision import LogOutcome
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.log_archive.log_queue import LogQueue, LogTask


def task(job: str, rank: int = 0, attempt: int = 0) -> LogTask:
    return LogTask(
        key=JobKey("ml", job),
        job_uid=job,
        pod=f"{job}-{attempt}-{rank}",
        pod_uid=f"{job}-{attempt}-{rank}",
        container="trainer",
        attempt=attempt,
        rank=rank,
        running=False,
        asked_at=0.0,
        give_up_at=float("inf"),
    )


def outcome(done: LogTask) -> LogOutcome:
    return LogOutcome(attempt=done.attempt, rank=done.rank)


def drain(queue: LogQueue) -> list[str]:
    order = []
    while (taken := queue.next_task()) is not None:
        order.append(taken.pod_uid)
        queue.set_outcome(taken, outcome(taken))
    return order


def test_jobs_take_turns() -> None:
    queue = LogQueue(10)
    for rank in range(3):
        queue.add(task("a", rank))
    queue.add(task("b"))
    assert drain(queue) == ["a-0-0", "b-0-0", "a-0-1", "a-0-2"]


def test_a_job_is_worked_on_once_at_a_time() -> None:
    queue = LogQueue(10)
    queue.add(task("a", 0))
    queue.add(task("a", 1))
    first = queue.next_task()
    assert first is not None
    assert queue.next_task() is None
    assert queue.has_waiting("a")
    queue.set_outcome(first, outcome(first))
    assert queue.next_task() == task("a", 1)


def test_a_pod_is_taken_once_while_it_waits_and_while_it_is_worked_on() -> None:
    queue = LogQueue(10)
    assert queue.add(task("a"))
    assert queue.add(task("a"))
    queue.next_task()
    assert queue.add(task("a"))
    assert len(queue) == 1
    assert queue.next_task() is None


def test_at_the_limit_a_pod_is_turned_away() -> None:
    queue = LogQueue(1)
    assert queue.add(task("a", 0))
    assert not queue.add(task("a", 1))
    assert queue.refused_total == 1
    drain(queue)
    assert queue.add(task("a", 1))


def test_one_that_failed_lets_the_others_of_its_job_go_first() -> None:
    queue = LogQueue(10)
    queue.add(task("a", 0))
    queue.add(task("a", 1))
    first = queue.next_task()
    assert first is not None
    queue.pause(first)
    queue.resume(first)
    assert len(queue) == 2
    assert drain(queue) == ["a-0-1", "a-0-0"]


def test_outcomes_are_kept_until_they_are_in_status() -> None:
    queue = LogQueue(10)
    for rank in range(2):
        queue.add(task("a", rank))
    queue.add(task("a", attempt=1))
    drain(queue)
    queue.forget("a", before=1, present={"a-0-1"})
    assert set(queue.outcomes_of("a")) == {"a-0-1", "a-1-0"}
    queue.forget_log_outcomes("a")
    assert queue.outcomes_of("a") == {}
    assert queue.outcomes_kept == 0


def test_beyond_the_limit_the_oldest_outcomes_are_forgotten() -> None:
    queue = LogQueue(2)
    for job in "abc":
        queue.add(task(job))
        drain(queue)
    assert queue.outcomes_of("a") == {}
    assert set(queue.outcomes_of("c")) == {"c-0-0"}
    assert queue.outcomes_kept == 2
