from typing import Any

import pytest

from tests.unit.trainingjob_sandbox.apiserver.widgets import Cluster, Object, pod
from trainingjob_sandbox.apiserver import ApiError
from trainingjob_sandbox.apiserver.deletion import DeleteOptions

CONTAINER = {"name": "c", "image": "x"}


def test_a_new_pod_is_pending_and_complete(cluster: Cluster) -> None:
    stored = cluster.store.create("pods", {**pod("p"), "status": {"phase": "Running"}})

    assert stored["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert stored["spec"]["restartPolicy"] == "Always"
    assert stored["spec"]["serviceAccountName"] == "default"
    assert stored["spec"]["terminationGracePeriodSeconds"] == 30
    assert stored["spec"]["containers"][0]["imagePullPolicy"] == "Always"


def test_a_new_pod_with_scheduling_gates_has_the_reason_scheduling_gated(cluster: Cluster) -> None:
    stored = cluster.store.create("pods", pod("p", schedulingGates=[{"name": "example.com/q"}]))

    [condition] = stored["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("PodScheduled", "False")
    assert condition["reason"] == "SchedulingGated"


@pytest.mark.parametrize(
    ("image", "want"),
    [
        ("x", "Always"),
        ("x:latest", "Always"),
        ("x:1", "IfNotPresent"),
        ("host:5000/x", "Always"),
        ("host:5000/x:1", "IfNotPresent"),
    ],
)
def test_an_image_without_a_version_is_always_pulled(
    cluster: Cluster, image: str, want: str
) -> None:
    stored = cluster.store.create("pods", pod("p", containers=[{"name": "c", "image": image}]))

    assert stored["spec"]["containers"][0]["imagePullPolicy"] == want


@pytest.mark.parametrize(
    ("resources", "want"),
    [
        ({}, "BestEffort"),
        ({"limits": {"example.dev/gpu": 1}}, "BestEffort"),
        ({"requests": {"cpu": 1}}, "Burstable"),
        ({"limits": {"cpu": 1}}, "Burstable"),
        ({"limits": {"cpu": 1, "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)
def test_the_qos_class_follows_from_the_resources(
    cluster: Cluster, resources: Object, want: str
) -> None:
    stored = cluster.store.create(
        "pods", pod("p", containers=[{**CONTAINER, "resources": resources}])
    )

    assert stored["status"]["qosClass"] == want


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        ({"containers": []}, "spec.containers: Required value"),
        (
            {"containers": [{}]},
            "[spec.containers[0].name: Required value, spec.containers[0].image: Required value]",
        ),
        (
            {"containers": [CONTAINER, CONTAINER]},
            'spec.containers[1].name: Duplicate value: "c"',
        ),
        (
            {"restartPolicy": "Maybe"},
            (
                'spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", '
                '"OnFailure", "Never"'
            ),
        ),
    ],
)
def test_an_invalid_pod_is_rejected_with_the_real_servers_message(
    cluster: Cluster, spec: Object, want: str
) -> None:
    with pytest.raises(ApiError) as caught:
        cluster.store.create("pods", pod("p", **spec))

    assert caught.value.code == 422
    assert str(caught.value) == f'Pod "p" is invalid: {want}'


@pytest.mark.parametrize(
    "container",
    [
        pytest.param("x", id="no-object"),
        pytest.param({**CONTAINER, "env": [{"name": "A", "value": 1}]}, id="env-value"),
        pytest.param({**CONTAINER, "args": ["--n", 1]}, id="argument"),
        pytest.param({**CONTAINER, "command": "python"}, id="command"),
    ],
)
def test_a_pod_that_cannot_be_read_is_a_bad_request(cluster: Cluster, container: Any) -> None:
    with pytest.raises(ApiError, match="json: cannot unmarshal") as caught:
        cluster.store.create("pods", pod("p", containers=[container]))

    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        (
            {"nodeSelector": "a"},
            "string into Go struct field PodSpec.spec.nodeSelector of type map[string]string",
        ),
        (
            {"containers": [{**CONTAINER, "resources": "x"}]},
            (
                "string into Go struct field Container.spec.containers.resources of type "
                "v1.ResourceRequirements"
            ),
        ),
        (
            {"containers": [{**CONTAINER, "resources": {"limits": ["cpu"]}}]},
            (
                "array into Go struct field ResourceRequirements.spec.containers.resources.limits of "
                "type v1.ResourceList"
            ),
        ),
    ],
)
def test_an_unreadable_pod_is_rejected_with_the_real_servers_message(
    cluster: Cluster, spec: Object, want: str
) -> None:
    with pytest.raises(ApiError) as caught:
        cluster.store.create("pods", pod("p", **spec))

    assert caught.value.code == 400
    assert str(caught.value) == (
        f'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal {want}'
    )


def test_of_a_running_pod_only_images_may_change(cluster: Cluster) -> None:
    cluster.store.create("pods", pod("p"))

    def change(**fields: Any) -> Object:
        return cluster.store.update(
            "pods", "p", lambda old: {**old, "spec": {**old["spec"], **fields}}
        )

    old = cluster.store.get("pods", "p")["spec"]["containers"][0]
    assert change(containers=[{**old, "image": "y"}])["metadata"]["generation"] == 2
    assert change(activeDeadlineSeconds=5)["metadata"]["generation"] == 3
    with pytest.raises(ApiError, match="pod updates may not change fields other than"):
        change(nodeName="n")
    with pytest.raises(ApiError, match="pod updates may not change fields other than"):
        change(containers=[{**old, "args": ["x"]}])


def test_scheduling_gates_can_be_removed_and_not_added(cluster: Cluster) -> None:
    gates = [{"name": f"example.com/{name}"} for name in "abc"]
    cluster.store.create("pods", pod("p", schedulingGates=gates[:2]))

    def gated(*by: Object) -> Object:
        return cluster.store.update(
            "pods", "p", lambda old: {**old, "spec": {**old["spec"], "schedulingGates": [*by]}}
        )

    assert gated(gates[1])["spec"]["schedulingGates"] == [gates[1]]
    with pytest.raises(ApiError, match="only deletion is allowed"):
        gated(gates[1], gates[2])
    assert gated()["spec"]["schedulingGates"] == []


# --- the end of a pod ------------------------------------------------------------------------


def create(cluster: Cluster, *, bound: bool = False, phase: str = "", **metadata: Any) -> None:
    spec = {"nodeName": "n"} if bound else {}
    cluster.store.create("pods", pod("p", metadata=metadata, **spec))
    if phase:
        cluster.store.update(
            "pods", "p", lambda old: {**old, "status": {"phase": phase}}, subresource="status"
        )
    cluster.events.clear()


@pytest.mark.parametrize(
    ("bound", "phase", "grace"),
    [
        pytest.param(False, "", None, id="on-no-node"),
        pytest.param(True, "Succeeded", None, id="succeeded"),
        pytest.param(True, "Failed", 20, id="failed"),
        pytest.param(True, "Running", 0, id="no-grace"),
    ],
)
def test_an_unbound_or_finished_pod_is_removed_at_once(
    cluster: Cluster, *, bound: bool, phase: str, grace: int | None
) -> None:
    create(cluster, bound=bound, phase=phase)

    deletion = cluster.store.delete("pods", "p", options=DeleteOptions(grace_seconds=grace))

    assert deletion.removed
    assert deletion.obj["metadata"]["deletionGracePeriodSeconds"] == 0
    assert cluster.events == [("MODIFIED", "p"), ("DELETED", "p")]


def test_a_bound_pod_is_kept_until_its_node_completes_the_deletion(cluster: Cluster) -> None:
    create(cluster, bound=True, phase="Running")

    asked = cluster.store.delete("pods", "p")
    again = cluster.store.delete("pods", "p")
    shorter = cluster.store.delete("pods", "p", options=DeleteOptions(grace_seconds=5))
    longer = cluster.store.delete("pods", "p", options=DeleteOptions(grace_seconds=60))

    def grace(obj: Object) -> int:
        return int(obj["metadata"]["deletionGracePeriodSeconds"])

    graces = [grace(deletion.obj) for deletion in (asked, again, shorter, longer)]
    assert graces == [30, 30, 5, 5]
    assert not longer.removed
    assert cluster.store.get("pods", "p")["metadata"]["generation"] == 2

    assert cluster.store.delete("pods", "p", options=DeleteOptions(grace_seconds=0)).removed
    assert cluster.events[-1] == ("DELETED", "p")


def test_finalizers_keep_a_pod_after_its_grace_period(cluster: Cluster) -> None:
    create(cluster, bound=True, finalizers=["x.dev/y"])

    assert not cluster.store.delete("pods", "p", options=DeleteOptions(grace_seconds=0)).removed
    cluster.store.update("pods", "p", without_finalizers)

    assert cluster.store.list("pods") == []


def test_a_pod_without_finalizers_still_has_its_grace_period(cluster: Cluster) -> None:
    create(cluster, bound=True, finalizers=["x.dev/y"])
    cluster.store.delete("pods", "p")

    cluster.store.update("pods", "p", without_finalizers)

    assert cluster.store.get("pods", "p")["metadata"]["deletionGracePeriodSeconds"] == 30


def without_finalizers(old: Object) -> Object:
    return {**old, "metadata": {**old["metadata"], "finalizers": []}}
