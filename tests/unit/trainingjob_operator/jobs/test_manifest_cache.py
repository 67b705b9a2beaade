"""The manifest cache keeps to its bound, and returns nothing stale."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.jobs.manifest_cache import Manifest, ManifestCache

RAW: dict[str, Any] = {
    "metadata": {"labels": {"team": "a"}},
    "spec": {"template": {"spec": {"containers": [{"name": "trainer", "image": "i"}]}}},
}
SIZE = len(json.dumps([RAW["metadata"]["labels"], RAW["spec"]], separators=(",", ":")))


def job(name: str = "mnist", *, uid: str = "u1", version: str = "1") -> JobView:
    return JobView(
        key=JobKey("ml", name),
        uid=uid,
        resource_version=version,
        generation=1,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_a_manifest_is_handed_out_for_the_version_it_was_seen_in() -> None:
    cache = ManifestCache()
    cache.remember(job(), RAW, now=7.0)
    assert cache.get(job()) == Manifest({"team": "a"}, RAW["spec"], 7.0)
    assert cache.get(job(version="2")) is None
    assert cache.get(job(uid="u2")) is None


def test_what_was_kept_is_not_what_its_owner_goes_on_changing() -> None:
    cache = ManifestCache()
    raw: dict[str, Any] = {"metadata": {}, "spec": {"numNodes": 1}}
    cache.remember(job(), raw, now=0.0)
    raw["spec"]["numNodes"] = 2
    kept = cache.get(job())
    assert kept is not None
    assert kept.spec == {"numNodes": 1}


def test_a_new_version_replaces_the_old_one() -> None:
    cache = ManifestCache()
    cache.remember(job(), RAW, now=0.0)
    cache.remember(job(version="2"), RAW, now=0.0)
    assert cache.get(job()) is None
    assert (len(cache), cache.used_bytes) == (1, SIZE)


def test_at_the_limit_the_oldest_is_evicted() -> None:
    cache = ManifestCache(limit_bytes=2 * SIZE)
    for name in ("a", "b", "c"):
        cache.remember(job(name), RAW, now=0.0)
    assert cache.get(job("a")) is None
    assert cache.get(job("b")) is not None
    assert cache.get(job("c")) is not None


def test_what_is_larger_than_the_cache_throws_nothing_out() -> None:
    cache = ManifestCache(limit_bytes=2 * SIZE)
    cache.remember(job("a"), RAW, now=0.0)
    cache.remember(job("b"), {"metadata": {}, "spec": {"template": "x" * 1000}}, now=0.0)
    assert cache.get(job("b")) is None
    assert cache.get(job("a")) is not None


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcde"), st.sampled_from(["put", "get", "drop"]), st.integers(0, 80)
        )
    )
)
def test_the_bound_holds_and_the_count_is_right(steps: list[tuple[str, str, int]]) -> None:
    cache = ManifestCache(limit_bytes=200)
    for name, what, size in steps:
        view = replace(job(), key=JobKey("ml", name))
        if what == "put":
            cache.remember(view, {"metadata": {}, "spec": {"x": "y" * size}}, now=0.0)
        elif what == "get":
            cache.get(view)
        else:
            cache.drop(view.key)
        assert cache.used_bytes <= 200
    for name in "abcde":
        cache.drop(JobKey("ml", name))
    assert (len(cache), cache.used_bytes) == (0, 0)
