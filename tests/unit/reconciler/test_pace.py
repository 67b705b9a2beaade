"""Mere progress is written soon on an idle API server, and later on a busy one."""

from trainingjob_operator.reconciler.pace import PROGRESS_AT_LAST_S, PROGRESS_EVERY_S, Pace


def after(*seconds: float) -> float:
    pace = Pace()
    for each in seconds:
        pace.took(each)
    return pace.interval_s


def test_while_writes_are_quick_it_is_the_shortest_interval() -> None:
    assert after() == after(*[0.01] * 100) == PROGRESS_EVERY_S


def test_the_slower_the_writes_the_longer_and_never_beyond_the_bound() -> None:
    assert PROGRESS_EVERY_S < after(*[0.3] * 100) < after(*[1.0] * 100) < PROGRESS_AT_LAST_S
    assert after(*[60.0] * 100) == PROGRESS_AT_LAST_S


def test_one_slow_write_is_forgotten() -> None:
    assert after(10.0) > PROGRESS_EVERY_S
    assert after(10.0, *[0.01] * 50) == PROGRESS_EVERY_S
