from collections.abc import Callable
from typing import Any

import pytest

from tests.support.apiserver.server_internals import put_raw
from tests.unit.trainingjob_sandbox.apiserver.widgets import Cluster, Object, config_map, widget
from trainingjob_sandbox.apiserver import ApiError
from trainingjob_sandbox.apiserver.deletion import DeleteOptions
from trainingjob_sandbox.apiserver.metadata import MAX_ANNOTATIONS_BYTES
from trainingjob_sandbox.apiserver.store import WriteOptions


def code(action: Callable[[], Any]) -> int:
    """Return the HTTP status of the expected error."""
    with pytest.raises(ApiError) as caught:
        action()
    return caught.value.code


def meta(obj: Object) -> Object:
    metadata: Object = obj["metadata"]
    return metadata


# --- create ----------------------------------------------------------------------------------


def test_the_server_fills_in_identity_and_revision(cluster: Cluster) -> None:
    first = cluster.store.create("widgets", widget("a"))
    second = cluster.store.create("configmaps", config_map("b"))

    assert meta(first)["generation"] == 1
    assert "generation" not in meta(second)
    assert meta(first)["uid"] != meta(second)["uid"]
    assert meta(first)["namespace"] == "default"
    assert meta(first)["creationTimestamp"].endswith("Z")
    assert int(meta(second)["resourceVersion"]) == int(meta(first)["resourceVersion"]) + 1


def test_a_client_cannot_choose_what_the_server_decides(cluster: Cluster) -> None:
    obj = widget("a")
    obj["metadata"] |= {"uid": "u", "resourceVersion": "7", "deletionTimestamp": "x", "foo": 1}

    stored = cluster.store.create("widgets", {**obj, "status": {"phase": "Done"}})

    assert meta(stored)["uid"] != "u"
    assert not {"deletionTimestamp", "foo"} & meta(stored).keys()
    assert "status" not in stored


def test_a_stored_object_is_a_copy(cluster: Cluster) -> None:
    obj = config_map("a")
    cluster.store.create("configmaps", obj)
    obj["data"]["a"] = "changed"
    cluster.store.get("configmaps", "a")["data"]["a"] = "changed"

    assert cluster.store.get("configmaps", "a")["data"] == {"a": "b"}


def test_a_name_is_generated(cluster: Cluster) -> None:
    made = {
        meta(cluster.store.create("configmaps", {"metadata": {"generateName": "x-"}}))["name"]
        for _ in range(20)
    }

    assert len(made) == 20
    assert all(name.startswith("x-") and len(name) == 7 for name in made)


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({}, id="no-name"),
        pytest.param({"name": "Upper"}, id="upper-case"),
        pytest.param({"name": "a_b"}, id="underscore"),
        pytest.param({"name": "-a"}, id="starts-with-a-dash"),
        pytest.param({"name": "a" * 254}, id="too-long"),
        pytest.param({"name": "a", "labels": {"k": "b c"}}, id="label-value"),
        pytest.param({"name": "a", "labels": {"/k": "b"}}, id="label-key"),
        pytest.param({"name": "a", "labels": {"k": "b" * 64}}, id="label-too-long"),
        pytest.param({"name": "a", "annotations": {"a b": ""}}, id="annotation-key"),
        pytest.param(
            {"name": "a", "annotations": {"k": "b" * MAX_ANNOTATIONS_BYTES}}, id="annotations-size"
        ),
        pytest.param({"name": "a", "finalizers": ["a b"]}, id="finalizer"),
        pytest.param({"name": "a", "ownerReferences": [{"name": "o"}]}, id="owner-without-uid"),
    ],
)
def test_metadata_that_breaks_the_rules_is_invalid(cluster: Cluster, metadata: Object) -> None:
    assert code(lambda: cluster.store.create("configmaps", {"metadata": metadata})) == 422


@pytest.mark.parametrize(
    "metadata",
    [{"name": 1}, {"name": "a", "labels": {"k": 1}}, {"name": "a", "finalizers": "x"}],
)
def test_metadata_of_the_wrong_type_is_a_bad_request(cluster: Cluster, metadata: Object) -> None:
    assert code(lambda: cluster.store.create("configmaps", {"metadata": metadata})) == 400


def test_a_name_of_the_maximum_length_is_accepted(cluster: Cluster) -> None:
    stored = cluster.store.create("configmaps", config_map("a" * 253))

    assert len(meta(stored)["name"]) == 253


def test_a_name_is_unique_in_each_namespace(cluster: Cluster) -> None:
    cluster.store.create("namespaces", {"metadata": {"name": "other"}})
    cluster.store.create("configmaps", config_map("a"))
    cluster.store.create("configmaps", config_map("a", namespace="other"))

    with pytest.raises(ApiError, match='configmaps "a" already exists') as caught:
        cluster.store.create("configmaps", config_map("a"))
    assert (caught.value.code, caught.value.status["reason"]) == (409, "AlreadyExists")


def test_nothing_is_created_in_a_missing_namespace(cluster: Cluster) -> None:
    with pytest.raises(ApiError, match='namespaces "nowhere" not found') as caught:
        cluster.store.create("configmaps", config_map("a", namespace="nowhere"))
    assert caught.value.code == 404


def test_a_dry_run_validates_and_stores_nothing(cluster: Cluster) -> None:
    dry = WriteOptions(dry_run=True)
    revision = cluster.storage.revision

    assert meta(cluster.store.create("widgets", widget("a"), options=dry))["uid"]
    assert (
        code(lambda: cluster.store.create("widgets", widget("a", numNodes=0), options=dry)) == 422
    )
    assert code(lambda: cluster.store.get("widgets", "a")) == 404
    cluster.store.create("widgets", widget("a"))
    changed = cluster.store.update(
        "widgets", "a", lambda old: {**old, "spec": {**old["spec"], "flag": True}}, options=dry
    )
    cluster.store.delete("widgets", "a", options=DeleteOptions(dry_run=True))

    assert changed["spec"]["flag"] is True
    assert "flag" not in cluster.store.get("widgets", "a")["spec"]
    assert cluster.storage.revision == revision + 1


def test_an_object_of_another_kind_is_rejected(cluster: Cluster) -> None:
    assert code(lambda: cluster.store.create("widgets", {**widget("a"), "kind": "Other"})) == 400
    assert (
        code(lambda: cluster.store.create("widgets", {**widget("a"), "apiVersion": "v2"})) == 400
    )
    assert code(lambda: cluster.store.create("widgets", {"metadata": {"name": "a"}})) == 400


# --- update ----------------------------------------------------------------------------------


def test_only_a_change_of_the_spec_is_a_new_generation(cluster: Cluster) -> None:
    cluster.store.create("widgets", widget("a"))

    def generation(change: Callable[[Object], Object], subresource: str = "") -> int:
        stored = cluster.store.update("widgets", "a", change, subresource=subresource)
        return int(meta(stored)["generation"])

    assert generation(lambda old: {**old, "metadata": {**meta(old), "labels": {"x": "y"}}}) == 1
    assert generation(lambda old: {**old, "status": {"phase": "X"}}, "status") == 1
    assert generation(lambda old: {**old, "spec": {**old["spec"], "flag": True}}) == 2


def test_a_write_that_changes_nothing_has_no_new_revision(cluster: Cluster) -> None:
    before = cluster.store.create("widgets", widget("a"))
    cluster.events.clear()

    after = cluster.store.update("widgets", "a", lambda old: old)
    cluster.store.replace("widgets", {**before, "status": {"phase": "ignored"}})
    cluster.store.update(
        "widgets", "a", lambda old: {**old, "metadata": {**meta(old), "labels": {}}}
    )

    assert meta(after)["resourceVersion"] == meta(before)["resourceVersion"]
    assert cluster.events == []


def test_a_stale_revision_is_a_conflict(cluster: Cluster) -> None:
    stale = cluster.store.create("widgets", widget("a"))
    cluster.store.update(
        "widgets", "a", lambda old: {**old, "spec": {**old["spec"], "flag": True}}
    )

    with pytest.raises(ApiError, match="the object has been modified") as caught:
        cluster.store.replace("widgets", stale)
    assert (caught.value.code, caught.value.status["reason"]) == (409, "Conflict")
    assert code(lambda: cluster.store.replace("widgets", stale, subresource="status")) == 409


def test_an_update_of_a_custom_object_needs_a_resource_version(cluster: Cluster) -> None:
    cluster.store.create("widgets", widget("a"))
    cluster.store.create("configmaps", config_map("a"))

    with pytest.raises(ApiError, match=r"resourceVersion: Invalid value: 0: must be specified"):
        cluster.store.replace("widgets", widget("a"))
    assert cluster.store.replace("configmaps", {**config_map("a"), "data": {"c": "d"}})[
        "data"
    ] == {"c": "d"}


def test_an_update_with_another_uid_is_rejected(cluster: Cluster) -> None:
    cluster.store.create("widgets", widget("a"))

    def other_uid(old: Object) -> Object:
        return {**old, "metadata": {**meta(old), "uid": "other"}, "status": {"phase": "X"}}

    with pytest.raises(
        ApiError, match=r'metadata.uid: Invalid value: "other": field is immutable'
    ):
        cluster.store.update("widgets", "a", other_uid)


@pytest.mark.parametrize("subresource", ["", "status"])
def test_an_object_of_the_same_name_and_another_uid_is_not_replaced(
    cluster: Cluster, subresource: str
) -> None:
    stored = cluster.store.create("widgets", widget("a"))
    namesake = {**stored, "metadata": {**meta(stored), "uid": "other"}}

    with pytest.raises(ApiError, match="UID in precondition: other") as caught:
        cluster.store.replace("widgets", namesake, subresource=subresource)
    assert caught.value.code == 409


def test_the_uid_in_a_status_patch_of_a_custom_object_is_ignored(cluster: Cluster) -> None:
    """As on a real 1.37.2 server: in a status patch only the resourceVersion is a precondition."""
    cluster.store.create("widgets", widget("a"))

    def other_uid(old: Object) -> Object:
        return {**old, "metadata": {**meta(old), "uid": "other"}, "status": {"phase": "X"}}

    stored = cluster.store.update("widgets", "a", other_uid, subresource="status")

    assert stored["status"] == {"phase": "X"}
    assert meta(stored)["uid"] != "other"


def test_status_and_spec_are_written_separately(cluster: Cluster) -> None:
    cluster.store.create("widgets", widget("a"))

    def everything(old: Object) -> Object:
        return {
            **old,
            "metadata": {**meta(old), "labels": {"x": "y"}},
            "spec": {**old["spec"], "flag": True},
            "status": {"phase": "X"},
        }

    status = cluster.store.update("widgets", "a", everything, subresource="status")
    assert status["status"] == {"phase": "X"}
    assert "flag" not in status["spec"]
    assert "labels" not in meta(status)

    rest = cluster.store.update("widgets", "a", lambda old: {**everything(old), "status": {}})
    assert rest["status"] == {"phase": "X"}
    assert rest["spec"]["flag"] is True
    assert meta(rest)["labels"] == {"x": "y"}


def test_a_status_can_be_removed(cluster: Cluster) -> None:
    cluster.store.create("widgets", widget("a"))
    cluster.store.update(
        "widgets", "a", lambda old: {**old, "status": {"phase": "X"}}, subresource="status"
    )

    def without(old: Object) -> Object:
        return {name: value for name, value in old.items() if name != "status"}

    assert "status" not in cluster.store.update("widgets", "a", without, subresource="status")


# --- delete ----------------------------------------------------------------------------------


def set_finalizers(cluster: Cluster, *finalizers: str) -> Object:
    return cluster.store.update(
        "widgets", "a", lambda old: {**old, "metadata": {**meta(old), "finalizers": [*finalizers]}}
    )


def test_an_object_without_finalizers_is_removed_at_once(cluster: Cluster) -> None:
    cluster.store.create("widgets", widget("a"))
    cluster.events.clear()

    deletion = cluster.store.delete("widgets", "a")

    assert deletion.removed
    assert cluster.events == [("DELETED", "a")]
    assert code(lambda: cluster.store.delete("widgets", "a")) == 404


def test_an_object_is_kept_until_its_last_finalizer_is_removed(cluster: Cluster) -> None:
    cluster.store.create("widgets", widget("a"))
    set_finalizers(cluster, "x.dev/a", "x.dev/b")
    cluster.events.clear()

    first = cluster.store.delete("widgets", "a")
    again = cluster.store.delete("widgets", "a")
    set_finalizers(cluster, "x.dev/b")
    with pytest.raises(ApiError, match="no new finalizers can be added"):
        set_finalizers(cluster, "x.dev/b", "x.dev/c")
    set_finalizers(cluster)

    assert not first.removed
    assert meta(first.obj)["deletionTimestamp"]
    assert meta(first.obj)["generation"] == 2
    assert again.obj == first.obj
    assert cluster.events == [("MODIFIED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


def test_the_deletion_timestamp_stays_whatever_a_client_writes(cluster: Cluster) -> None:
    cluster.store.create("widgets", widget("a"))
    set_finalizers(cluster, "x.dev/a")
    cluster.store.delete("widgets", "a")

    def revive(old: Object) -> Object:
        metadata = {k: v for k, v in meta(old).items() if k != "deletionTimestamp"}
        return {**old, "metadata": metadata, "spec": {**old["spec"], "flag": True}}

    assert meta(cluster.store.update("widgets", "a", revive))["deletionTimestamp"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DeleteOptions(uid="other"), "the UID in the precondition"),
        (DeleteOptions(resource_version="1"), "the ResourceVersion in the precondition"),
    ],
)
def test_a_deletion_with_a_precondition_that_does_not_hold_is_a_conflict(
    cluster: Cluster, options: DeleteOptions, message: str
) -> None:
    cluster.store.create("widgets", widget("a"))

    with pytest.raises(ApiError, match=message) as caught:
        cluster.store.delete("widgets", "a", options=options)
    assert caught.value.code == 409
    assert cluster.store.get("widgets", "a")


def test_a_deletion_with_preconditions_that_hold_goes_through(cluster: Cluster) -> None:
    stored = meta(cluster.store.create("widgets", widget("a")))
    options = DeleteOptions(uid=stored["uid"], resource_version=stored["resourceVersion"])

    assert cluster.store.delete("widgets", "a", options=options).removed


# --- past the checks -------------------------------------------------------------------------


def test_put_raw_stores_what_no_check_would_pass(cluster: Cluster) -> None:
    first = put_raw(cluster.store, {**widget("w"), "spec": "nonsense", "status": []})
    put_raw(cluster.store, {**first, "spec": 5})

    stored = cluster.store.get("widgets", "w")
    assert stored["spec"] == 5
    assert meta(stored)["uid"] == meta(first)["uid"]
    assert cluster.events == [("ADDED", "w"), ("MODIFIED", "w")]


def test_the_string_data_of_a_secret_is_stored_as_base64(cluster: Cluster) -> None:
    stored = cluster.store.create("secrets", {"metadata": {"name": "s"}, "stringData": {"a": "b"}})

    assert stored["data"] == {"a": "Yg=="}
    assert "stringData" not in stored
    assert stored["type"] == "Opaque"


def test_a_service_gets_an_address_unless_it_is_headless(cluster: Cluster) -> None:
    def create(name: str, **spec: Any) -> Object:
        body = {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}
        return cluster.store.create("services", body)

    first, second = create("a"), create("b")
    headless = cluster.store.create(
        "services", {"metadata": {"name": "h"}, "spec": {"clusterIP": "None"}}
    )

    assert first["spec"]["clusterIP"] != second["spec"]["clusterIP"]
    assert first["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert headless["spec"]["clusterIPs"] == ["None"]
    assert code(lambda: create("c", ports=[{"port": 0}])) == 422
    assert code(lambda: create("d", ports=[])) == 422


def test_an_event_must_be_in_the_namespace_of_its_object(cluster: Cluster) -> None:
    event = {"metadata": {"name": "e"}, "involvedObject": {"namespace": "other"}}

    assert code(lambda: cluster.store.create("events", event)) == 422
    cluster.store.create("events", {**event, "involvedObject": {"namespace": "default"}})
    cluster.store.create("events", {**event, "metadata": {"name": "f"}, "involvedObject": {}})
