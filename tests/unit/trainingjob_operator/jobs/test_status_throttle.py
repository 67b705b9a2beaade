"""Mere progress is written soon on an idle API server, and later on a busy one."""

from hypothesis import given
from hypothesis import strategies as st

from trainingjob_operator.jobs.status_throttle import (
    PROGRESS_AT_LAST_S,
    PROGRESS_EVERY_S,
    StatusThrottle,
)


def after(*seconds: float, busy: bool = False) -> StatusThrottle:
    pace = StatusThrottle(lambda: busy)
    for each in seconds:
        pace.took(each)
    return pace


def test_while_writes_are_quick_it_is_the_shortest_interval() -> None:
    assert after().wait_s(0) == after(*[0.01] * 100).wait_s(0) == PROGRESS_EVERY_S
    assert after().wait_s(PROGRESS_EVERY_S) == 0


def test_the_slower_the_writes_the_longer_and_never_beyond_the_bound() -> None:
    quicker, slower = after(*[0.3] * 100).wait_s(0), after(*[1.0] * 100).wait_s(0)
    assert PROGRESS_EVERY_S < quicker < slower < PROGRESS_AT_LAST_S
    assert after(*[60.0] * 100).wait_s(0) == PROGRESS_AT_LAST_S


def test_one_slow_write_is_forgotten() -> None:
    assert after(10.0).wait_s(0) > PROGRESS_EVERY_S
    assert after(10.0, *[0.01] * 50).wait_s(0) == PROGRESS_EVERY_S


def test_while_others_wait_it_lets_them_pass_but_not_for_ever() -> None:
    busy = after(busy=True)
    assert busy.wait_s(5 * PROGRESS_EVERY_S) == PROGRESS_EVERY_S
    assert busy.wait_s(PROGRESS_AT_LAST_S) == 0


@given(written_at=st.floats(min_value=0, max_value=1e9))
def test_who_has_waited_for_as_long_as_told_need_not_wait_for_a_rounding_error(
    written_at: float,
) -> None:
    pace = after()
    due_at = written_at + pace.wait_s(0)
    assert pace.wait_s(due_at - written_at) == 0
