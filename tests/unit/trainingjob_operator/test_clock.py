"""A clock that does not follow changes of the wall clock, for expiry."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.volume.volume import AdjustableClock
from trainingjob_operator.clock import SteadyTime

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def clock_at(moment: datetime) -> AdjustableClock:
    return AdjustableClock(wall_ns=int(moment.timestamp()) * 10**9)


@pytest.mark.parametrize("set_by", [timedelta(days=10), timedelta(days=-10)])
def test_it_continues_whatever_the_wall_clock_is_set_to(set_by: timedelta) -> None:
    clock = clock_at(NOW)
    steady = SteadyTime(clock)
    before = steady.of(NOW - timedelta(seconds=5))
    clock.wall_ns = int((NOW + set_by).timestamp()) * 10**9
    clock.monotonic_s += 60
    assert steady.now() == NOW + timedelta(seconds=60)
    assert steady.now() - before == timedelta(seconds=65)
    ended_now = steady.of(clock.now() - timedelta(seconds=5))
    assert steady.now() - ended_now == timedelta(seconds=5), "by the clock that it ended by"


@pytest.mark.parametrize("past", [NOW + timedelta(days=1), datetime.max.replace(tzinfo=UTC)])
def test_what_is_yet_to_come_is_now(past: datetime) -> None:
    assert SteadyTime(clock_at(NOW)).of(past) == NOW


def test_the_beginning_of_the_calendar_is_no_error() -> None:
    steady = SteadyTime(clock_at(datetime(1970, 1, 2, tzinfo=UTC)))
    assert steady.of(datetime.min.replace(tzinfo=UTC)) < steady.of(steady.now())
