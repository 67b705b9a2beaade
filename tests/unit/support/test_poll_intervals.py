"""A wait is looked at often in its beginning, and seldom when it is long."""

from itertools import islice

import pytest

from tests.support.poll_intervals import FIRST_S, LONGEST_S, poll_intervals


@pytest.mark.parametrize(("waited_s", "looks"), [(0.1, 5), (1.0, 16), (60.0, 320)])
def test_a_wait_takes_few_looks(waited_s: float, looks: int) -> None:
    passed, count = 0.0, 0
    for pause in poll_intervals():
        passed, count = passed + pause, count + 1
        if passed >= waited_s:
            break
    assert count <= looks


def test_what_is_waited_for_is_seen_soon_after() -> None:
    passed = 0.0
    for pause in islice(poll_intervals(), 1000):
        assert pause <= min(LONGEST_S, FIRST_S + passed * 0.15) + 1e-9
        passed += pause


def test_the_next_wait_begins_with_short_ones() -> None:
    assert list(islice(poll_intervals(), 500))[-1] == LONGEST_S
    assert next(poll_intervals()) == FIRST_S
