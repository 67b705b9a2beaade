from typing import Any

import pytest

from trainingjob_sandbox.apiserver import ApiError
from trainingjob_sandbox.apiserver.patching import MAX_OPERATIONS, json_patch, merge
from trainingjob_sandbox.apiserver.strategic import strategic_merge


def test_a_merge_patch_sets_removes_and_replaces_lists() -> None:
    before = {"a": 1, "b": {"c": 2, "d": 3}, "list": [1, 2]}

    after = merge(before, {"a": None, "b": {"c": 4}, "list": [9], "new": {"x": None, "y": 1}})

    assert after == {"b": {"c": 4, "d": 3}, "list": [9], "new": {"y": 1}}
    assert before == {"a": 1, "b": {"c": 2, "d": 3}, "list": [1, 2]}


def test_a_json_patch_leaves_the_original_alone() -> None:
    before = {"a": {"b": [1]}}

    after = json_patch(before, [{"op": "add", "path": "/a/b/-", "value": 2}])

    assert after == {"a": {"b": [1, 2]}}
    assert before == {"a": {"b": [1]}}


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param({"op": "test", "path": "/a", "value": 2}, id="test-fails"),
        pytest.param({"op": "test", "path": "/nope", "value": 2}, id="test-of-nothing"),
        pytest.param({"op": "remove", "path": "/nope"}, id="no-such-path"),
        pytest.param({"op": "remove"}, id="no-path"),
        pytest.param({"op": "dance", "path": "/a"}, id="no-such-operation"),
        pytest.param({"op": "add", "path": "/a/b", "value": 1}, id="through-a-scalar"),
        pytest.param("remove", id="no-operation"),
        pytest.param({"op": "remove", "path": "a"}, id="no-pointer"),
    ],
)
def test_a_json_patch_that_cannot_be_applied_is_unprocessable(operation: object) -> None:
    with pytest.raises(ApiError) as caught:
        json_patch({"a": 1}, [operation])

    assert caught.value.code == 422


def test_the_number_of_operations_of_a_json_patch_is_limited() -> None:
    with pytest.raises(ApiError) as no_list:
        json_patch({}, {})
    with pytest.raises(ApiError) as too_long:
        json_patch({}, [{"op": "test", "path": "", "value": {}}] * (MAX_OPERATIONS + 1))

    assert (no_list.value.code, too_long.value.code) == (400, 413)


def test_a_strategic_patch_merges_lists_by_their_keys() -> None:
    pod: dict[str, Any] = {
        "spec": {
            "containers": [
                {"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]},
                {"name": "b", "image": "1"},
            ]
        }
    }

    patched = strategic_merge(
        pod,
        {
            "spec": {
                "containers": [
                    {"name": "a", "env": [{"name": "Y", "value": "2"}]},
                    {"name": "c", "image": "3"},
                    {"name": "b", "$patch": "delete"},
                ]
            }
        },
    )

    assert patched["spec"]["containers"] == [
        {
            "name": "a",
            "image": "1",
            "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}],
        },
        {"name": "c", "image": "3"},
    ]
    assert pod["spec"]["containers"][0]["env"] == [{"name": "X", "value": "1"}]


def test_a_strategic_patch_orders_lists_by_set_element_order() -> None:
    before = {"volumes": [{"name": "server"}, {"name": "b"}, {"name": "a"}]}

    after = strategic_merge(
        before, {"$setElementOrder/volumes": [{"name": "a"}, {"name": "b"}], "volumes": []}
    )

    assert [volume["name"] for volume in after["volumes"]] == ["a", "b", "server"]


def test_a_strategic_patch_merges_finalizers_and_removes_some() -> None:
    meta = {"finalizers": ["a", "b"]}

    assert strategic_merge(meta, {"finalizers": ["c"]})["finalizers"] == ["a", "b", "c"]
    after = strategic_merge(meta, {"$deleteFromPrimitiveList/finalizers": ["a"]})
    assert after == {"finalizers": ["b"]}


def test_a_strategic_patch_replaces_and_deletes_on_demand() -> None:
    before = {"map": {"a": 1, "b": 2}, "args": ["1", "2"], "ports": [{"port": 1}, {"port": 2}]}

    after = strategic_merge(
        before,
        {
            "map": {"$patch": "replace", "c": 3},
            "args": ["9"],
            "ports": [{"$patch": "replace"}, {"port": 3}],
        },
    )

    assert after == {"map": {"c": 3}, "args": ["9"], "ports": [{"port": 3}]}
    assert strategic_merge(before, {"map": {"$retainKeys": ["b"], "b": 5}})["map"] == {"b": 5}
    assert strategic_merge(before, {"map": {"$patch": "delete"}})["map"] == {}


def test_a_strategic_patch_without_the_key_of_a_list_is_refused() -> None:
    with pytest.raises(ApiError) as no_key:
        strategic_merge({"env": []}, {"env": [{"value": "1"}]})
    with pytest.raises(ApiError) as no_directive:
        strategic_merge({}, {"$patch": "dance"})

    assert (no_key.value.code, no_directive.value.code) == (400, 400)
