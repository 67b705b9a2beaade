"""Request bodies: JSON, YAML, and the protobuf that kubectl always sends for some commands."""

import pytest

from trainingjob_sandbox.apiserver import ApiError
from trainingjob_sandbox.apiserver.protobuf import MEDIA_TYPE
from trainingjob_sandbox.apiserver.request_body import parse_body

# As kubectl 1.37.1 sends them.
NAMESPACE = (
    b'k8s\x00\n\x0f\n\x02v1\x12\tNamespace\x12\x1a\n\x12\n\x02zz\x12\x00\x1a\x00"\x00*\x002\x008'
    b'\x00B\x00\x12\x00\x1a\x02\n\x00\x1a\x00"\x00'
)
CONFIG_MAP = (
    b'k8s\x00\n\x0f\n\x02v1\x12\tConfigMap\x12\x1c\n\x12\n\x01c\x12\x00\x1a\x01q"\x00*\x002\x008'
    b'\x00B\x00\x12\x06\n\x01a\x12\x01b\x1a\x00"\x00'
)
TOKEN_REQUEST = (
    b'k8s\x00\n(\n\x18authentication.k8s.io/v1\x12\x0cTokenRequest\x12\x02\n\x00\x1a\x00"\x00'
)


def test_json_and_yaml_are_parsed_alike() -> None:
    want = {"a": [1, {"b": None}]}

    assert parse_body(b'{"a": [1, {"b": null}]}', "application/json") == (want, [])
    assert parse_body(b"a:\n- 1\n- b: null\n", "application/yaml") == (want, [])
    assert parse_body(b"{}", "") == ({}, [])


def test_fields_that_are_written_twice_are_named_and_the_last_counts() -> None:
    body = b'{"a": 1, "spec": {"x": 1, "x": 2, "l": [{"y": 1, "y": 1}]}, "a": 3}'

    value, repeated = parse_body(body, "application/json")

    assert value == {"a": 3, "spec": {"x": 2, "l": [{"y": 1}]}}
    assert repeated == ["a", "spec.x", "spec.l[0].y"]


@pytest.mark.parametrize("body", [b"not json", b"", b"{", b"\xff"])
def test_a_body_that_cannot_be_read_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(ApiError, match="the object provided is unrecognized") as caught:
        parse_body(body, "application/json", "Pod")

    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("body", "media_type", "where"),
    [
        (rb'{"spec": {"args": ["fine", "\ud800"]}}', "application/json", "spec.args[1] holds"),
        (rb'{"metadata": {"labels": {"\uDFFF": ""}}}', "", "metadata.labels holds"),
        (b'args: ["\\ud800"]', "application/yaml", "args[0] holds"),
        (b'args: ["\\U0000D800"]', "application/yaml", "args[0] holds"),
        (b'{"args": "\xed\xa0\x80"}', "application/json", "unrecognized"),
    ],
)
def test_half_of_a_surrogate_pair_is_a_bad_request_that_says_where(
    body: bytes, media_type: str, where: str
) -> None:
    with pytest.raises(ApiError) as caught:
        parse_body(body, media_type, "Pod")

    assert caught.value.code == 400
    assert where in str(caught.value)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert parse_body(rb'{"a": "\ud83d\ude00"}', "application/json") == ({"a": "\U0001f600"}, [])


def test_an_unknown_media_type_is_not_supported() -> None:
    with pytest.raises(ApiError) as caught:
        parse_body(b"{}", "text/html")

    assert caught.value.code == 415


def test_protobuf_of_simple_kinds_is_understood() -> None:
    assert parse_body(NAMESPACE, MEDIA_TYPE)[0] == {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "zz"},
    }
    assert parse_body(CONFIG_MAP, MEDIA_TYPE)[0] == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": "q"},
        "data": {"a": "b"},
    }


def test_protobuf_of_another_kind_is_not_supported() -> None:
    with pytest.raises(ApiError, match="accepts TokenRequest only as JSON or YAML") as caught:
        parse_body(TOKEN_REQUEST, MEDIA_TYPE)

    assert caught.value.code == 415


@pytest.mark.parametrize(
    "body", [b"", b"k8s\x00", NAMESPACE[:-25], b"k8s\x00\xff\xff\xff", b"k8s\x00\x0b"]
)
def test_damaged_protobuf_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        parse_body(body, MEDIA_TYPE)

    assert caught.value.code == 400
