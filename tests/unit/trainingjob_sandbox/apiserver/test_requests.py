"""Requests are parsed into verb, resource, name and subresource."""

import pytest

from trainingjob_sandbox.apiserver.requests import Path, verb

WIDGETS = "/apis/example.dev/v1/namespaces/default/widgets"


@pytest.mark.parametrize(
    ("method", "path", "query", "want"),
    [
        ("GET", "/apis", {}, "get"),
        ("GET", WIDGETS, {}, "list"),
        ("GET", WIDGETS, {"watch": "true"}, "watch"),
        ("POST", WIDGETS, {}, "create"),
        ("DELETE", WIDGETS, {}, "deletecollection"),
        ("GET", f"{WIDGETS}/w/status", {}, "get"),
        ("PATCH", f"{WIDGETS}/w", {}, "patch"),
        ("PUT", f"{WIDGETS}/w", {}, "update"),
        ("DELETE", f"{WIDGETS}/w", {}, "delete"),
    ],
)
def test_a_request_has_a_verb(method: str, path: str, query: dict[str, str], want: str) -> None:
    assert verb(method, Path.read(path), query) == want


def test_a_path_is_parsed_into_object_and_subresource() -> None:
    assert Path.read(f"{WIDGETS}/nope/status") == Path(
        "example.dev", "v1", "widgets", "default", "nope", "status"
    )
    assert Path.read("/apis") == Path()
