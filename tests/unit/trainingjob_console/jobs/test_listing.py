"""Pages of live jobs: together they contain each job once, whatever changes in between."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.console.run_work import run_work
from tests.support.console.summaries import BEGIN, make_summary
from trainingjob_console.errors import BadRequestError
from trainingjob_console.jobs.filters import Filter
from trainingjob_console.jobs.listing import SORTS, Cursor, LivePage, live_page
from trainingjob_console.jobs.summary import Summary

NOW = BEGIN + 1000
PHASES = ("Pending", "Running", "Failed")

jobs_of_many_kinds = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.sampled_from(PHASES),
        st.sampled_from(("ml", "vision", "hidden")),
        st.sampled_from((None, BEGIN + 40, BEGIN + 50)),
    ),
    max_size=30,
    unique_by=lambda each: each[0],
).map(
    lambda found: [
        make_summary(number, phase=phase, namespace=namespace, completed=completed)
        for number, phase, namespace, completed in found
    ]
)
filters = st.builds(
    Filter,
    namespace=st.sampled_from(("", "ml", "hidden")),
    phase=st.sampled_from(("", *PHASES)),
    labels=st.sampled_from(((), ("team=t1",), ("team=t1", "team=t2"))),
    since=st.sampled_from((None, BEGIN + 45)),
    until=st.sampled_from((None, BEGIN + 45)),
    text=st.sampled_from(("", "JOB-1", "ranks are")),
)


def visible(namespace: str) -> bool:
    return namespace != "hidden"


def page_of(jobs: list[Summary], wanted: Filter, **more: Any) -> LivePage:
    given: dict[str, Any] = {"sort": "-created", "now": NOW, "after": None, "limit": 100} | more
    return run_work(live_page(jobs, wanted, visible, **given))


@given(jobs_of_many_kinds, filters, st.sampled_from(sorted(SORTS)), st.integers(1, 7))
def test_the_pages_are_the_sorted_list_and_each_job_is_on_one(
    jobs: list[Summary], wanted: Filter, sort: str, limit: int
) -> None:
    whole = page_of(jobs, wanted, sort=sort)
    seen: list[Summary] = []
    after = None
    while True:
        page = page_of(jobs, wanted, sort=sort, after=after, limit=limit)
        assert len(page.jobs) <= limit
        assert (page.total, page.counts) == (whole.total, whole.counts)
        seen += page.jobs
        if page.after is None:
            break
        word = Cursor(sort, NOW, page.after).encode()
        after = Cursor.decode(word).after
        assert after == page.after
    assert seen == whole.jobs
    assert whole.total == len(seen) == len({job.uid for job in seen})
    expected = [job for job in jobs if visible(job.namespace) and wanted.matches(job)]
    assert {job.uid for job in seen} == {job.uid for job in expected}
    keys = [(SORTS[sort](job, NOW), job.uid) for job in seen]
    assert keys == sorted(keys)
    of_phase = whole.counts.get(wanted.phase, 0) if wanted.phase else sum(whole.counts.values())
    assert of_phase == whole.total
    assert "hidden" not in whole.namespaces


@given(jobs_of_many_kinds, st.data())
def test_jobs_added_or_removed_between_pages_neither_hide_nor_repeat_another(
    jobs: list[Summary], data: st.DataObject
) -> None:
    wanted = Filter()
    first = page_of(jobs, wanted, limit=5)
    gone = data.draw(st.sets(st.sampled_from([job.uid for job in jobs]))) if jobs else set()
    left = [job for job in jobs if job.uid not in gone] + [make_summary(31), make_summary(99)]
    rest: list[Summary] = []
    after = first.after
    while after is not None:
        page = page_of(left, wanted, limit=3, after=after)
        rest += page.jobs
        after = page.after
    shown = [job.uid for job in (*first.jobs, *rest)]
    assert len(shown) == len(set(shown))
    if first.after is not None:
        stayed = {job.uid for job in jobs if visible(job.namespace)} - gone
        assert stayed <= set(shown)


def test_a_cursor_continues_in_the_history_and_invalid_ones_are_refused() -> None:
    place = Cursor("name", NOW, ("a/ml", "uid")).in_history("word")
    assert Cursor.decode(place.encode()) == place
    wrong = [
        "x",
        "====",
        "W10",
        Cursor("size", NOW, None).encode(),
        Cursor("name", NOW, (1, "uid")).encode(),
        Cursor("created", NOW, ("a", "uid")).encode(),
        "A" * 2000,
    ]
    for word in wrong:
        with pytest.raises(BadRequestError, match="cursor"):
            Cursor.decode(word)


@given(st.text(max_size=40))
def test_any_text_is_a_cursor_or_refused(word: str) -> None:
    try:
        Cursor.decode(word)
    except BadRequestError:
        return
    raise AssertionError(word)


def test_jobs_are_sorted_by_duration_whether_running_or_ended() -> None:
    over = make_summary(1, completed=BEGIN + 500)
    runs, begun_late = make_summary(2), make_summary(900)
    found = page_of([begun_late, over, runs], Filter(), sort="duration")
    assert found.jobs == [runs, over, begun_late]
