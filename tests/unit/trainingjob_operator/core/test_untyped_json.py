"""Repeated strings are interned, in a cache of limited size."""

import sys
from typing import Any

import pytest

from tests.support.builders import make_job
from trainingjob_operator.core import untyped_json
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.core.untyped_json import MAX_INTERNED_TEXTS, intern_text, interned_texts


def fresh(value: str) -> str:
    """An equal string that is a different object."""
    return "".join(list(value))


def test_equal_strings_are_interned() -> None:
    first = intern_text(fresh("team-a"))
    assert intern_text(fresh("team-a")) is first


@pytest.mark.parametrize("value", [None, 7, ["a"], {"a": 1}])
def test_a_value_that_is_no_string_becomes_empty(value: object) -> None:
    assert intern_text(value) == ""


def test_the_number_of_interned_strings_is_limited() -> None:
    for number in range(MAX_INTERNED_TEXTS + 1000):
        intern_text(f"job-{number}")
    assert interned_texts() == MAX_INTERNED_TEXTS


@pytest.mark.parametrize("value", ["x" * 100_000, "ж" * 200], ids=["long", "four bytes a letter"])
def test_long_and_non_ascii_strings_are_not_interned(value: str) -> None:
    untyped_json._shared.cache_clear()
    assert intern_text(value) == value
    assert interned_texts() == 0


def test_an_evicted_string_is_freed() -> None:
    untyped_json._shared.cache_clear()
    before = sys.getallocatedblocks()
    for number in range(MAX_INTERNED_TEXTS * 4):
        intern_text(f"a-uid-that-never-comes-back-{number}")
    untyped_json._shared.cache_clear()
    assert sys.getallocatedblocks() - before < MAX_INTERNED_TEXTS // 4


def test_observing_jobs_never_calls_sys_intern(monkeypatch: pytest.MonkeyPatch) -> None:
    interned: list[Any] = []

    def intern(value: str) -> str:
        interned.append(value)
        return value

    monkeypatch.setattr(sys, "intern", intern)
    for number in range(10):
        raw = make_job(f"never-seen-{number}")
        raw["metadata"] |= {
            "uid": f"{number:08}-aaaa-4bbb-8ccc-222222222222",
            "resourceVersion": "1",
        }
        assert job_view(raw).key.name == f"never-seen-{number}"
    assert not interned
