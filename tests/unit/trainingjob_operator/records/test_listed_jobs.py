"""Listed jobs: in the order of the list, each job once, and never above the limit."""

from tests.support.builders import make_job
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.records.listed_jobs import ListedJobs


def job(name: str) -> JobView:
    raw = make_job(name)
    raw["metadata"] |= {"uid": f"uid-{name}", "resourceVersion": "1"}
    return job_view(raw)


def test_jobs_leave_in_the_order_in_which_they_came() -> None:
    ready = ListedJobs()
    assert all(ready.put(job(name)) for name in ("b", "a"))
    assert ready.put(job("b")), "listed once more, it keeps its place"
    taken = [ready.take(), ready.take(), ready.take()]
    assert [each.key.name if each else None for each in taken] == ["b", "a", None]


def test_a_job_beyond_the_limit_is_turned_away() -> None:
    ready = ListedJobs(max_jobs=1)
    assert ready.put(job("a"))
    assert not ready.put(job("b"))
    assert (len(ready), ready.room) == (1, 0)
    assert [key.name for key in ready.clear()] == ["a"]
    assert ready.put(job("b"))
