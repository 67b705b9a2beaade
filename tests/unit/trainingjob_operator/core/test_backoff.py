"""Exponential back-off with a cap, and batches that double up to a size."""

import pytest

from trainingjob_operator.core.backoff import Backoff, batches

BACKOFF = Backoff(1.0, 60.0)


@pytest.mark.parametrize(
    ("failures", "wait_s"), [(0, 1), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (1_000_000, 60)]
)
def test_the_wait_doubles_with_each_failure_and_has_a_cap(failures: int, wait_s: float) -> None:
    assert BACKOFF.wait_s(failures) == wait_s


@pytest.mark.parametrize(("last_s", "wait_s"), [(0, 1), (0.1, 1), (1, 2), (40, 60), (60, 60)])
def test_each_wait_follows_from_the_last_one(last_s: float, wait_s: float) -> None:
    assert BACKOFF.next_s(last_s) == wait_s


def test_the_longest_wait_applies_even_if_it_is_below_the_first_one() -> None:
    assert Backoff(1.0, 0.5).wait_s(1) == Backoff(1.0, 0.5).next_s(0) == 0.5


@pytest.mark.parametrize(
    ("count", "first", "sizes"),
    [(0, None, []), (7, None, [4, 3]), (8, None, [4, 4]), (20, 1, [1, 2, 4, 4, 4, 4, 1])],
)
def test_all_items_come_in_order_in_batches(
    count: int, first: int | None, sizes: list[int]
) -> None:
    items = list(range(count))
    found = list(batches(items, 4, first=first))
    assert [len(batch) for batch in found] == sizes
    assert [item for batch in found for item in batch] == items
