"""Mere progress is written soon on an idle API server, and later on a busy one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainingjob_operator.core.progress import Progress
from trainingjob_operator.jobs.status_throttle import (
    DONE_EVERY_S,
    PROGRESS_AT_LAST_S,
    PROGRESS_EVERY_S,
    START_EVERY_S,
    StatusThrottle,
)

HOUR_S = 3600.0


def after(*seconds: float, busy: bool = False) -> StatusThrottle:
    pace = StatusThrottle(lambda: busy)
    for each in seconds:
        pace.note_write(each)
    return pace


def all_run(pace: StatusThrottle, since_s: float) -> float:
    return pace.wait_s(Progress.ALL_RUN, since_write_s=since_s)


def test_while_writes_are_quick_it_is_the_shortest_interval() -> None:
    assert all_run(after(), 0) == all_run(after(*[0.01] * 100), 0) == PROGRESS_EVERY_S
    assert all_run(after(), PROGRESS_EVERY_S) == 0


def test_the_slower_the_writes_the_longer_and_never_beyond_the_bound() -> None:
    quicker, slower = all_run(after(*[0.3] * 100), 0), all_run(after(*[1.0] * 100), 0)
    assert PROGRESS_EVERY_S < quicker < slower < PROGRESS_AT_LAST_S
    assert all_run(after(*[60.0] * 100), 0) == PROGRESS_AT_LAST_S


def test_one_slow_write_is_forgotten() -> None:
    assert all_run(after(10.0), 0) > PROGRESS_EVERY_S
    assert all_run(after(10.0, *[0.01] * 50), 0) == PROGRESS_EVERY_S


def test_while_others_wait_it_lets_them_pass_but_not_for_ever() -> None:
    busy = after(busy=True)
    assert all_run(busy, 5 * PROGRESS_EVERY_S) == PROGRESS_EVERY_S
    assert all_run(busy, PROGRESS_AT_LAST_S) == 0


@pytest.mark.parametrize(
    ("progress", "wait_s"),
    [
        (Progress.ALL_RUN, 0.0),
        (Progress.COUNTS, PROGRESS_EVERY_S),
        (Progress.DONE, DONE_EVERY_S),
        (Progress.SOME_STARTED, START_EVERY_S),
    ],
)
def test_the_first_of_several_changes_waits_for_the_others_and_their_end_for_none(
    progress: Progress, wait_s: float
) -> None:
    pace = after()
    assert pace.wait_s(progress, since_write_s=HOUR_S, since_seen_s=0.0) == wait_s
    assert pace.wait_s(progress, since_write_s=HOUR_S, since_seen_s=wait_s) == 0


@pytest.mark.parametrize("pace", [after(*[60.0] * 100), after(busy=True)])
def test_ranks_that_are_done_rest_on_their_pods_alone_for_seconds_at_most(
    pace: StatusThrottle,
) -> None:
    for seen_s in (0.0, 0.5, DONE_EVERY_S):
        wait = pace.wait_s(Progress.DONE, since_write_s=HOUR_S, since_seen_s=seen_s)
        assert wait <= DONE_EVERY_S - seen_s


@given(written_at=st.floats(min_value=0, max_value=1e9))
def test_a_wait_that_is_over_but_for_a_rounding_error_counts_as_over(
    written_at: float,
) -> None:
    pace = after()
    due_at = written_at + all_run(pace, 0)
    assert all_run(pace, due_at - written_at) == 0
