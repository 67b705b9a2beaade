from typing import Any

import pytest

from trainingjob_sandbox.apiserver import ApiError
from trainingjob_sandbox.apiserver.selectors import by_fields, by_labels

LABELS = {"app": "a", "tier": "web", "n": "5", "empty": "", "x.dev/y": "z"}
OBJECT = {"metadata": {"name": "o", "labels": LABELS}, "spec": {"on": True, "count": 3}}
PATHS = {"metadata.name": ("metadata", "name"), "on": ("spec", "on"), "count": ("spec", "count")}


@pytest.mark.parametrize(
    ("selector", "want"),
    [
        ("", True),
        ("app=a", True),
        ("app==a", True),
        ("app=b", False),
        ("app!=b", True),
        ("app!=a", False),
        ("missing!=a", True),
        ("app in (a, b)", True),
        ("app in (b)", False),
        ("app notin (b,c)", True),
        ("app notin (a)", False),
        ("missing notin (a)", True),
        ("app", True),
        ("missing", False),
        ("!missing", True),
        ("!app", False),
        ("n>4", True),
        ("n>5", False),
        ("n<6", True),
        ("app>1", False),
        ("empty=", True),
        ("app=", False),
        ("empty in (,a)", True),
        ("x.dev/y=z,tier=web,!missing", True),
        ("x.dev/y=z,tier=db", False),
    ],
)
def test_labels_select(selector: str, *, want: bool) -> None:
    assert by_labels(selector)(OBJECT) is want


def test_an_object_without_labels_has_none() -> None:
    assert by_labels("!app")({"metadata": {"name": "o"}})
    assert not by_labels("app")({"metadata": {"name": "o", "labels": None}})


@pytest.mark.parametrize(
    "selector", ["a b", "a===b", "a in", "a in (b", "=a", "a,", "a in b", "?"]
)
def test_a_selector_that_cannot_be_read_is_a_bad_request(selector: str) -> None:
    with pytest.raises(ApiError) as caught:
        by_labels(selector)(OBJECT)

    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("selector", "want"),
    [
        ("", True),
        ("metadata.name=o", True),
        ("metadata.name==o", True),
        ("metadata.name!=o", False),
        ("on=true", True),
        ("count=3,on=true", True),
        ("count=3,on=false", False),
    ],
)
def test_fields_select(selector: str, *, want: bool) -> None:
    assert by_fields(selector, PATHS, str)(OBJECT) is want


def test_a_field_that_is_missing_is_empty() -> None:
    matches = by_fields("count=", PATHS, str)
    without: dict[str, Any] = {"metadata": {"name": "o"}}

    assert matches(without)
    assert not matches(OBJECT)


def test_a_field_that_cannot_be_selected_by_is_named() -> None:
    with pytest.raises(ApiError, match=r"no spec\.x here"):
        by_fields("spec.x=1", PATHS, lambda field: f"no {field} here")
