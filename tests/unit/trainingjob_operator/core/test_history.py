"""History limits, applied to a stream of jobs."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.views import make_view
from tests.unit.trainingjob_operator.core.test_retention import ended
from trainingjob_operator.core.history import History
from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.core.retention import Inherited, Rules


def named(number: int, outcome: str = "Complete", **fields: Any) -> JobView:
    """A job that finished `number` seconds ago."""
    job = ended(outcome, ago_s=number, **fields)
    return replace(job, key=JobKey("ml", f"job-{number}"), uid=f"uid-{number}")


def surplus(history: History, *jobs: JobView) -> set[str]:
    return {gone.key.name for job in jobs if (gone := history.keep_newest(job)) is not None}


def test_the_oldest_jobs_are_deleted_in_any_order_of_the_list() -> None:
    rules = Inherited(own=Rules(successful_limit=2))
    jobs = [named(number) for number in (3, 1, 5, 2, 4)]
    assert surplus(History(rules), *jobs) == {"job-3", "job-4", "job-5"}
    assert surplus(History(rules), *reversed(jobs)) == {"job-3", "job-4", "job-5"}


def test_failed_and_cancelled_jobs_share_a_limit_and_complete_jobs_have_another() -> None:
    history = History(Inherited(own=Rules(successful_limit=1, failed_limit=1)))
    jobs = [named(1), named(2, "Failed"), named(3, "Cancelled"), named(4)]
    assert surplus(history, *jobs) == {"job-3", "job-4"}


def test_a_limit_of_zero_keeps_no_job_and_no_limit_keeps_all() -> None:
    jobs = [named(1), named(2, "Failed")]
    assert surplus(History(Inherited(own=Rules(successful_limit=0))), *jobs) == {"job-1"}


def test_a_limit_is_inherited_from_the_default_policy() -> None:
    default = Rules(successful_limit=0)
    assert surplus(History(Inherited(default=default)), named(1)) == {"job-1"}
    own = Rules(successful_limit=5)
    assert surplus(History(Inherited(own=own, default=default)), named(1)) == set()


@pytest.mark.parametrize(
    "fields",
    [
        {"keep": True},
        {"state": "Pending"},
        {"state": "Rejected"},
        {"deleting": True},
        {"gitops_owner": "Argo CD"},
        {"ttl_s": 10**6},
    ],
)
def test_a_held_job_is_neither_deleted_nor_counted(fields: dict[str, Any]) -> None:
    history = History(Inherited(own=Rules(successful_limit=1)))
    assert surplus(history, named(1, **fields), named(2), named(3)) == {"job-3"}
    assert (
        History(Inherited(own=Rules(successful_limit=0))).keep_newest(named(1, **fields)) is None
    )


def test_an_unfinished_job_is_not_counted() -> None:
    assert History(Inherited(own=Rules(successful_limit=0))).keep_newest(make_view()) is None


@given(ages=st.lists(st.integers(0, 10**6), unique=True, max_size=60), limit=st.integers(0, 20))
def test_exactly_the_newest_jobs_of_any_list_are_kept(ages: list[int], limit: int) -> None:
    history = History(Inherited(own=Rules(successful_limit=limit)))
    gone = surplus(history, *(named(age) for age in ages))
    assert gone == {f"job-{age}" for age in sorted(ages)[limit:]}
