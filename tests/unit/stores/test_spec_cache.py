"""The cache of specs keeps to its bound, and hands out nothing that is stale."""

import json
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.stores.spec_cache import MAX_AGE_S, SpecCache

SPEC = {"template": {"spec": {"containers": [{"name": "trainer", "image": "i"}]}}}
SIZE = len(json.dumps(SPEC, separators=(",", ":")))


def job(name: str = "mnist", *, uid: str = "u1", version: str = "1") -> JobView:
    return JobView(
        key=JobKey("ml", name),
        uid=uid,
        resource_version=version,
        generation=1,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_a_spec_is_handed_out_once() -> None:
    cache = SpecCache()
    cache.put(job(), SPEC, now=0.0)
    assert cache.take(job(), now=1.0) == SPEC
    assert cache.take(job(), now=1.0) is None
    assert (len(cache), cache.used_bytes) == (0, 0)


def test_another_version_of_the_job_gets_nothing() -> None:
    cache = SpecCache()
    cache.put(job(), SPEC, now=0.0)
    assert cache.take(job(version="2"), now=0.0) is None
    cache.put(job(), SPEC, now=0.0)
    assert cache.take(job(uid="u2"), now=0.0) is None


def test_a_spec_grows_stale() -> None:
    cache = SpecCache()
    cache.put(job(), SPEC, now=0.0)
    assert cache.take(job(), now=MAX_AGE_S + 0.1) is None
    cache.put(job(), SPEC, now=0.0)
    assert cache.take(job(), now=MAX_AGE_S) == SPEC


def test_what_was_kept_is_not_what_its_owner_goes_on_changing() -> None:
    cache, spec = SpecCache(), {"numNodes": 1}
    cache.put(job(), spec, now=0.0)
    spec["numNodes"] = 2
    assert cache.take(job(), now=0.0) == {"numNodes": 1}


def test_at_the_limit_the_oldest_goes() -> None:
    cache = SpecCache(limit_bytes=2 * SIZE)
    for name in ("a", "b", "c"):
        cache.put(job(name), SPEC, now=0.0)
    assert cache.take(job("a"), now=0.0) is None
    assert cache.take(job("b"), now=0.0) == SPEC
    assert cache.take(job("c"), now=0.0) == SPEC


def test_what_is_larger_than_the_cache_throws_nothing_out() -> None:
    cache = SpecCache(limit_bytes=2 * SIZE)
    cache.put(job("a"), SPEC, now=0.0)
    cache.put(job("b"), {"template": "x" * 1000}, now=0.0)
    assert cache.take(job("b"), now=0.0) is None
    assert cache.take(job("a"), now=0.0) == SPEC


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcde"), st.sampled_from(["put", "take", "drop"]), st.integers(0, 80)
        )
    )
)
def test_the_bound_holds_and_the_count_is_right(steps: list[tuple[str, str, int]]) -> None:
    cache = SpecCache(limit_bytes=200)
    for name, what, size in steps:
        view = replace(job(), key=JobKey("ml", name))
        if what == "put":
            cache.put(view, {"x": "y" * size}, now=0.0)
        elif what == "take":
            cache.take(view, now=0.0)
        else:
            cache.drop(view.key)
        assert cache.used_bytes <= 200
    for name in "abcde":
        cache.drop(JobKey("ml", name))
    assert (len(cache), cache.used_bytes) == (0, 0)
