"""The controllers: garbage collection, namespaces, CRDs, quotas."""

import pytest

from tests.unit.trainingjob_sandbox.apiserver.widgets import (
    CRD,
    Cluster,
    Object,
    config_map,
    owned_by,
    pod,
    widget,
)
from trainingjob_sandbox.apiserver import ApiError, controllers
from trainingjob_sandbox.apiserver.deletion import DeleteOptions


def names(cluster: Cluster, resource: str = "pods") -> list[str]:
    return [obj["metadata"]["name"] for obj in cluster.store.list(resource)]


# --- owners ----------------------------------------------------------------------------------


def test_pods_are_deleted_with_their_owner(cluster: Cluster) -> None:
    owner = cluster.store.create("widgets", widget("w"))
    cluster.store.create("pods", pod("mine", metadata=owned_by(owner)))
    cluster.store.create("pods", pod("other"))

    cluster.store.delete("widgets", "w")
    assert names(cluster) == ["mine", "other"]
    cluster.settle()

    assert names(cluster) == ["other"]


def test_dependents_of_dependents_are_deleted_too(cluster: Cluster) -> None:
    top = cluster.store.create("widgets", widget("w"))
    middle = cluster.store.create("configmaps", config_map("cm", **owned_by(top)))
    cluster.store.create("pods", pod("p", metadata=owned_by(middle)))

    cluster.store.delete("widgets", "w")
    cluster.settle()

    assert names(cluster, "configmaps") + names(cluster) == []


def test_a_pod_created_after_its_owner_was_deleted_is_deleted(cluster: Cluster) -> None:
    owner = cluster.store.create("widgets", widget("w"))
    cluster.store.delete("widgets", "w")
    cluster.store.create("widgets", widget("w"))

    cluster.store.create("pods", pod("late", metadata=owned_by(owner)))
    cluster.settle()

    assert names(cluster) == []
    assert names(cluster, "widgets") == ["w"]


def test_an_owner_in_another_namespace_is_no_owner(cluster: Cluster) -> None:
    cluster.store.create("namespaces", {"metadata": {"name": "other"}})
    owner = cluster.store.create("configmaps", config_map("o", namespace="other"))

    cluster.store.create("pods", pod("p", metadata=owned_by(owner)))
    cluster.settle()

    assert names(cluster) == []


def test_a_dependent_of_an_owner_of_unknown_kind_is_kept(cluster: Cluster) -> None:
    owner = {"apiVersion": "x.dev/v1", "kind": "X", "metadata": {"name": "x", "uid": "u"}}

    cluster.store.create("pods", pod("p", metadata=owned_by(owner)))
    cluster.settle()

    assert names(cluster) == ["p"]


def test_an_object_is_kept_while_one_of_its_owners_exists(cluster: Cluster) -> None:
    first = cluster.store.create("widgets", widget("a"))
    second = cluster.store.create("widgets", widget("b"))
    references = [owned_by(owner)["ownerReferences"][0] for owner in (first, second)]
    cluster.store.create("pods", pod("p", metadata={"ownerReferences": references}))

    cluster.store.delete("widgets", "a")
    cluster.settle()
    kept = cluster.store.get("pods", "p")["metadata"]["ownerReferences"]
    assert [reference["name"] for reference in kept] == ["b"]

    cluster.store.delete("widgets", "b")
    cluster.settle()
    assert names(cluster) == []


def test_orphans_are_kept_without_the_owner_reference(cluster: Cluster) -> None:
    owner = cluster.store.create("widgets", widget("w"))
    cluster.store.create("pods", pod("p", metadata=owned_by(owner)))

    cluster.store.delete("widgets", "w", options=DeleteOptions(policy="Orphan"))
    cluster.settle()

    assert names(cluster, "widgets") == []
    assert "ownerReferences" not in cluster.store.get("pods", "p")["metadata"]


def test_in_foreground_deletion_the_owner_is_deleted_last(cluster: Cluster) -> None:
    owner = cluster.store.create("widgets", widget("w"))
    metadata = owned_by(owner, blockOwnerDeletion=True)
    cluster.store.create("pods", pod("p", metadata=metadata, nodeName="n"))

    cluster.store.delete("widgets", "w", options=DeleteOptions(policy="Foreground"))
    cluster.settle()
    assert names(cluster, "widgets") == ["w"]
    assert cluster.store.get("pods", "p")["metadata"]["deletionTimestamp"]

    cluster.store.delete("pods", "p", options=DeleteOptions(grace_seconds=0))
    cluster.settle()
    assert names(cluster, "widgets") == []
    assert cluster.events[-2:] == [("DELETED", "p"), ("DELETED", "w")]


def test_a_dependent_that_does_not_block_does_not_hold_its_owner(cluster: Cluster) -> None:
    owner = cluster.store.create("widgets", widget("w"))
    cluster.store.create("pods", pod("p", metadata=owned_by(owner), nodeName="n"))

    cluster.store.delete("widgets", "w", options=DeleteOptions(policy="Foreground"))
    cluster.settle()

    assert names(cluster, "widgets") == []
    assert cluster.store.get("pods", "p")["metadata"]["deletionTimestamp"]


def test_the_index_of_owners_is_empty_when_everything_is_gone(cluster: Cluster) -> None:
    known = len(cluster.controllers.gc._refs)
    for number in range(50):
        owner = cluster.store.create("widgets", widget(f"w{number}"))
        cluster.store.create("pods", pod(f"p{number}", metadata=owned_by(owner)))
        cluster.store.delete("widgets", f"w{number}")
        cluster.settle()

    assert cluster.controllers.gc._dependents == {}
    assert len(cluster.controllers.gc._refs) == known
    assert len(cluster.controllers) == 0


# --- namespaces ------------------------------------------------------------------------------


def test_the_contents_of_a_namespace_are_deleted_with_it(cluster: Cluster) -> None:
    cluster.store.create("namespaces", {"metadata": {"name": "tmp"}})
    for resource, obj in (("pods", pod("p")), ("widgets", widget("w"))):
        obj["metadata"]["namespace"] = "tmp"
        cluster.store.create(resource, obj)
    held = config_map("held", namespace="tmp", finalizers=["x.dev/y"])
    cluster.store.create("configmaps", held)
    cluster.store.create("configmaps", config_map("elsewhere"))

    cluster.store.delete("namespaces", "tmp")
    assert cluster.store.get("namespaces", "tmp")["status"] == {"phase": "Terminating"}
    with pytest.raises(ApiError, match="because it is being terminated") as caught:
        cluster.store.create("pods", pod("late", metadata={"namespace": "tmp"}))
    assert caught.value.code == 403

    cluster.settle()
    assert names(cluster) + names(cluster, "widgets") == []
    assert names(cluster, "namespaces") == ["default", "tmp"]

    cluster.store.update(
        "configmaps",
        "held",
        lambda old: {**old, "metadata": {**old["metadata"], "finalizers": []}},
        namespace="tmp",
    )
    cluster.settle()
    assert names(cluster, "namespaces") == ["default"]
    assert names(cluster, "configmaps") == ["elsewhere"]


# --- definitions -----------------------------------------------------------------------------


def test_the_instances_of_a_crd_and_their_dependents_are_deleted_with_it(cluster: Cluster) -> None:
    owner = cluster.store.create("widgets", widget("w"))
    cluster.store.create("pods", pod("p", metadata=owned_by(owner)))

    cluster.store.delete("customresourcedefinitions", "widgets.example.dev")
    cluster.settle()

    assert names(cluster, "customresourcedefinitions") + names(cluster) == []
    with pytest.raises(KeyError):
        cluster.store.list("widgets")


def test_a_crd_that_is_created_again_has_no_instances(cluster: Cluster) -> None:
    cluster.store.create("widgets", widget("w"))
    cluster.store.delete("customresourcedefinitions", "widgets.example.dev")
    cluster.settle()

    cluster.store.create("customresourcedefinitions", CRD)

    assert names(cluster, "widgets") == []


def test_a_crd_is_established_at_once(cluster: Cluster) -> None:
    status = cluster.store.get("customresourcedefinitions", "widgets.example.dev")["status"]

    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "Established": "True",
        "NamesAccepted": "True",
    }
    assert status["acceptedNames"]["listKind"] == "WidgetList"
    assert status["storedVersions"] == ["v1"]


def test_a_changed_crd_is_served_at_once(cluster: Cluster) -> None:
    def relax(old: Object) -> Object:
        version = old["spec"]["versions"][0]
        schema = {
            "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        }
        return {**old, "spec": {**old["spec"], "versions": [{**version, "schema": schema}]}}

    cluster.store.update("customresourcedefinitions", "widgets.example.dev", relax)

    stored = cluster.store.create("widgets", widget("w", numNodes="any"))
    assert stored["spec"]["numNodes"] == "any"


# --- quotas ----------------------------------------------------------------------------------


def quota(**hard: str) -> Object:
    return {"metadata": {"name": "q"}, "spec": {"hard": hard}}


def test_a_pod_that_would_exceed_a_quota_is_rejected(cluster: Cluster) -> None:
    cluster.store.create("resourcequotas", quota(pods="1"))
    cluster.store.create("pods", pod("a"))

    with pytest.raises(ApiError) as caught:
        cluster.store.create("pods", pod("b"))

    assert caught.value.code == 403
    assert str(caught.value) == (
        'pods "b" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, '
        "limited: pods=1"
    )


def test_finished_pods_do_not_count_as_pods_but_as_objects(cluster: Cluster) -> None:
    cluster.store.create("pods", pod("a"))
    cluster.store.update(
        "pods", "a", lambda old: {**old, "status": {"phase": "Failed"}}, subresource="status"
    )

    cluster.store.create("resourcequotas", quota(pods="1", **{"count/pods": "2"}))
    cluster.store.create("pods", pod("b"))
    with pytest.raises(ApiError) as caught:
        cluster.store.create("pods", pod("c"))

    assert str(caught.value).endswith(
        "exceeded quota: q, requested: count/pods=1,pods=1, used: count/pods=2,pods=1, "
        "limited: count/pods=2,pods=1"
    )


def test_a_quota_counts_custom_objects_too(cluster: Cluster) -> None:
    cluster.store.create("resourcequotas", quota(**{"count/widgets.example.dev": "0"}))

    with pytest.raises(ApiError, match=r"limited: count/widgets.example.dev=0"):
        cluster.store.create("widgets", widget("w"))


def test_the_status_of_a_quota_has_the_usage(cluster: Cluster) -> None:
    cluster.store.create("resourcequotas", quota(pods="5", **{"requests.cpu": "4"}))
    cluster.store.create("pods", pod("a"))
    cluster.settle()
    assert cluster.store.get("resourcequotas", "q")["status"] == {
        "hard": {"pods": "5", "requests.cpu": "4"},
        "used": {"pods": "1"},
    }

    cluster.store.delete("pods", "a")
    cluster.settle()
    assert cluster.store.get("resourcequotas", "q")["status"]["used"] == {"pods": "0"}


def test_a_quota_that_is_no_number_is_invalid(cluster: Cluster) -> None:
    with pytest.raises(ApiError, match=r"spec.hard.pods: Invalid value"):
        cluster.store.create("resourcequotas", quota(pods="many"))


# --- events ----------------------------------------------------------------------------------


def test_over_the_limit_the_oldest_events_are_deleted(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controllers, "MAX_EVENTS", 10)
    sizes = []
    for number in range(25):
        event = {"metadata": {"name": f"e{number:02}"}, "involvedObject": {"namespace": "default"}}
        cluster.store.create("events", event)
        cluster.settle()
        sizes.append(len(names(cluster, "events")))

    assert max(sizes) == 10
    assert names(cluster, "events") == [f"e{number:02}" for number in range(16, 25)]
    assert ("DELETED", "e00") in cluster.events
