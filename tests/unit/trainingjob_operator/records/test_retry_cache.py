"""The retry cache: first in, first out, never above its bound, and no needless eviction."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainingjob_operator.core.job import JobKey
from trainingjob_operator.records.retry_cache import RetryCache

A, B, C = (JobKey("ml", name) for name in "abc")


def test_keys_come_out_in_the_order_in_which_they_came() -> None:
    cache = RetryCache(10)
    for key in (B, A, C):
        cache.put(key, now=0.0)
    assert [cache.take(now=0.0) for _ in range(4)] == [B, A, C, None]


def test_at_the_limit_the_oldest_is_evicted() -> None:
    cache = RetryCache(2)
    assert cache.put(A, now=0.0) is None
    assert cache.put(B, now=0.0) is None
    assert cache.put(C, now=0.0) == A
    assert (len(cache), cache.evicted_total, cache.room) == (2, 1, 0)
    assert A not in cache


def test_a_key_that_is_tried_out_of_turn_takes_only_a_free_entry() -> None:
    cache = RetryCache(2)
    cache.put(A, now=0.0)
    cache.mark_in_flight(B, now=0.0)
    cache.mark_in_flight(C, now=0.0)
    assert (A in cache, B in cache, C in cache, cache.evicted_total) == (True, True, False, 0)
    assert [cache.take(now=0.0) for _ in range(2)] == [A, None]


def test_a_key_is_left_alone_while_it_is_tried_and_until_it_is_due_again() -> None:
    cache = RetryCache(2)
    assert not cache.is_backing_off(A, now=0.0)
    cache.put(A, now=0.0)
    assert not cache.is_backing_off(A, now=0.0)
    cache.mark_in_flight(A, now=0.0)
    assert cache.is_backing_off(A, now=0.0)
    cache.failed(A, due=10.0)
    assert cache.is_backing_off(A, now=9.0)
    assert not cache.is_backing_off(A, now=10.0)
    assert cache.failures(A) == 1


def test_putting_a_key_that_is_there_evicts_nothing_and_changes_nothing() -> None:
    cache = RetryCache(2)
    cache.put(A, now=0.0)
    cache.put(B, now=0.0)
    cache.take(now=0.0)
    cache.failed(A, due=100.0)
    assert cache.put(A, now=1.0) is None
    assert cache.evicted_total == 0
    assert cache.take(now=1.0) == B
    assert cache.take(now=99.0) is None
    assert cache.take(now=100.0) == A


def test_a_key_that_is_being_tried_is_not_handed_out_again() -> None:
    cache = RetryCache(2)
    cache.put(A, now=0.0)
    assert cache.take(now=0.0) == A
    assert cache.take(now=1e9) is None
    assert cache.next_due(now=0.0) is None


def test_failures_are_counted_until_the_key_is_removed() -> None:
    cache = RetryCache(2)
    cache.put(A, now=0.0)
    cache.failed(A, due=1.0)
    cache.failed(A, due=2.0)
    assert (cache.failures(A), cache.next_due(now=0.0)) == (2, 2.0)
    cache.remove(A)
    assert (cache.failures(A), cache.next_due(now=0.0)) == (0, None)
    cache.failed(A, due=3.0)
    assert A not in cache


def test_when_the_endpoint_is_back_everything_is_due() -> None:
    cache = RetryCache(3)
    for key in (A, B):
        cache.put(key, now=0.0)
        cache.failed(key, due=300.0)
    cache.make_all_due(now=10.0)
    assert [cache.take(now=10.0) for _ in range(3)] == [A, B, None]


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        RetryCache(0)


@given(
    st.lists(st.tuples(st.sampled_from(["put", "take", "failed", "remove"]), st.integers(0, 9)))
)
def test_the_bound_holds_and_only_a_new_key_evicts(steps: list[tuple[str, int]]) -> None:
    cache, model = RetryCache(4), list[JobKey]()
    for what, number in steps:
        key = JobKey("ml", str(number))
        if what == "put":
            evicted = cache.put(key, now=0.0)
            if key not in model:
                model.append(key)
                expected = model.pop(0) if len(model) > 4 else None
                assert evicted == expected
            else:
                assert evicted is None
        elif what == "take":
            cache.take(now=0.0)
        elif what == "failed":
            cache.failed(key, due=0.0)
        else:
            cache.remove(key)
            model = [each for each in model if each != key]
        assert len(cache) <= 4
        assert [key in cache for key in model] == [True] * len(cache)
