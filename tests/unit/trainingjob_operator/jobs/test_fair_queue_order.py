"""The order in which jobs are admitted when a complete list has more jobs than the index can hold."""

from dataclasses import replace

from tests.support.views import at, make_condition
from trainingjob_operator.core.job import JobKey, JobStatus, JobView
from trainingjob_operator.jobs.fair_queue import in_fair_order

FINISHED = JobStatus(conditions=(make_condition("Complete"),), launched_attempt=0)


def job(namespace: str, name: str, created_s: float, *, has_started: bool = False) -> JobView:
    view = JobView(
        key=JobKey(namespace, name),
        uid=name,
        resource_version="1",
        generation=1,
        created_at=at(created_s),
    )
    return replace(view, status=JobStatus(launched_attempt=0)) if has_started else view


def names(*jobs: JobView) -> list[str]:
    return [each.key.name for each in in_fair_order(jobs)]


def test_namespaces_take_turns_and_within_one_the_oldest_is_first() -> None:
    large = [job("large", f"large-{n}", n) for n in range(3)]
    small = [job("small", f"small-{n}", 100 - n) for n in range(2)]
    assert names(*large, *small) == ["large-0", "small-1", "large-1", "small-0", "large-2"]


def test_what_has_started_comes_before_what_has_not() -> None:
    old = [job("large", f"old-{n}", n) for n in range(2)]
    assert names(*old, job("small", "runs", 100, has_started=True))[0] == "runs"


def test_a_job_that_was_resumed_is_as_new_and_a_suspended_one_with_pods_has_started() -> None:
    suspended = JobStatus(conditions=(make_condition("Suspended"),), attempt=1, launched_attempt=0)
    resumed = replace(job("a", "resumed", 0), status=suspended)
    stops = replace(job("a", "stops", 8), status=replace(suspended, terminating=1))
    runs = job("a", "runs", 9, has_started=True)
    assert names(resumed, stops, runs) == ["stops", "runs", "resumed"]


def test_what_is_over_comes_last() -> None:
    over = replace(job("a", "over", 0), status=FINISHED)
    assert names(over, job("a", "lives", 9)) == ["lives", "over"]
