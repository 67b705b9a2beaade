"""Evictable jobs are sorted by the time at which they finished, not by when that was observed."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from trainingjob_operator.core.job import JobKey
from trainingjob_operator.jobs.eviction_order import EvictionOrder

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = [JobKey("ml", f"job-{number:03}") for number in range(100)]


def at(number: int) -> datetime:
    return NOW + timedelta(seconds=number)


@pytest.fixture
def order() -> EvictionOrder:
    """All keys, each finished at the second of its number, told of in any order."""
    order = EvictionOrder()
    for number in random.Random(7).sample(range(len(KEYS)), len(KEYS)):
        order.add(KEYS[number], at(number))
    return order


def test_the_job_that_finished_first_is_first(order: EvictionOrder) -> None:
    assert order.first == KEYS[0]
    order.discard(KEYS[0])
    assert order.first == KEYS[1]


def test_jobs_before_a_time_are_returned_in_order(order: EvictionOrder) -> None:
    assert order.before(at(3)) == KEYS[:3]
    assert order.before(NOW) == []
    assert order.before(at(1000)) == KEYS


def test_a_job_that_is_added_twice_keeps_the_first_time(order: EvictionOrder) -> None:
    order.add(KEYS[0], at(1000))
    assert order.first == KEYS[0]
    assert len(order) == len(KEYS)


def test_nothing_is_left_of_a_discarded_job(order: EvictionOrder) -> None:
    for key in KEYS:
        order.discard(key)
        order.discard(key)
    assert len(order) == 0
    assert order.before(at(1000)) == []
    assert KEYS[0] not in order
