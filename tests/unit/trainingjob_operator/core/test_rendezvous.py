"""The rendezvous address: host names that pods can resolve, and a port of the job's own."""

import json
from typing import Any

import pytest

from tests.support.builders import make_job
from tests.support.views import UID, make_status, make_view
from trainingjob_api.validation import parse_spec
from trainingjob_operator.core.manifests import pod_manifest, service_manifest
from trainingjob_operator.core.rendezvous import FIRST_HOST_PORT, HOST_PORTS

Object = dict[str, Any]

OTHER_UID = UID.replace("1", "5")
SERVICE = f"mnist-{UID[:8]}"
ADDRESS_OF = {
    "Torch": "MASTER_ADDR",
    "JAX": "JAX_COORDINATOR_ADDRESS",
    "TensorFlow": "TF_CONFIG",
    "XGBoost": "DMLC_TRACKER_URI",
}


def pod(
    index: int = 0,
    *,
    framework: str = "Torch",
    nodes: int = 1,
    attempt: int = 0,
    uid: str = UID,
    port: int | None = None,
    **pod_spec: Any,
) -> Object:
    """The pod of one rank of a job whose template has these fields."""
    job = make_job(nodes=nodes, framework=framework, rendezvousPort=port)
    job["spec"]["template"]["spec"] |= pod_spec
    view = make_view(make_status(attempt=attempt), nodes=nodes, uid=uid)
    return pod_manifest(view, parse_spec(job["spec"]), index)


def variables(made: Object) -> dict[str, str]:
    return {e["name"]: e["value"] for e in made["spec"]["containers"][0]["env"]}


@pytest.mark.parametrize("framework", ADDRESS_OF)
@pytest.mark.parametrize(
    ("pod_spec", "called"),
    [
        ({}, f"{SERVICE}-0-0"),
        ({"hostname": "alone"}, "alone"),
        ({"hostname": "alone", "subdomain": "elsewhere"}, "alone"),
        ({"hostname": "alone", "hostnameOverride": "renamed"}, "renamed"),
        ({"hostNetwork": True}, "127.0.0.1"),
        ({"hostNetwork": True, "hostname": "alone"}, "127.0.0.1"),
    ],
    ids=["no name", "a name", "with a subdomain", "an override", "host network", "and a name"],
)
def test_a_single_rank_uses_its_pods_own_host_name(
    framework: str, pod_spec: Object, called: str
) -> None:
    address = variables(pod(framework=framework, **pod_spec))[ADDRESS_OF[framework]]

    if framework == "TensorFlow":
        [address] = json.loads(address)["cluster"]["worker"]
    assert address.partition(":")[0] == called


@pytest.mark.parametrize("shared", [False, True], ids=["own network", "host network"])
def test_several_ranks_have_host_names_of_the_headless_service(shared: bool) -> None:
    made = pod(1, nodes=2, hostname="taken", subdomain="taken", hostNetwork=shared)

    assert (made["spec"]["hostname"], made["spec"]["subdomain"]) == (f"{SERVICE}-0-1", SERVICE)
    assert variables(made)["MASTER_ADDR"] == f"{SERVICE}-0-0.{SERVICE}.ml.svc"


@pytest.mark.parametrize(
    ("pod_spec", "policy"),
    [
        ({}, None),
        ({"dnsPolicy": "ClusterFirst"}, "ClusterFirst"),
        ({"hostNetwork": False}, None),
        ({"hostNetwork": True}, "ClusterFirstWithHostNet"),
        ({"hostNetwork": True, "dnsPolicy": "ClusterFirst"}, "ClusterFirstWithHostNet"),
        ({"hostNetwork": True, "dnsPolicy": "Default"}, "Default"),
        ({"hostNetwork": True, "dnsPolicy": "None"}, "None"),
    ],
)
@pytest.mark.parametrize("nodes", [1, 2])
def test_a_pod_on_the_host_network_uses_the_cluster_dns(
    nodes: int, pod_spec: Object, policy: str | None
) -> None:
    assert pod(nodes=nodes, **pod_spec)["spec"].get("dnsPolicy") == policy


def ports_of(made: Object, framework: str) -> set[int]:
    """All ports in the environment variables of a rank."""
    found = variables(made)
    if framework == "Torch":
        return {int(found["MASTER_PORT"]), int(found["PET_MASTER_PORT"])}
    if framework == "JAX":
        return {int(found["JAX_COORDINATOR_ADDRESS"].rpartition(":")[2])}
    if framework == "XGBoost":
        return {int(found["DMLC_TRACKER_PORT"])}
    workers = json.loads(found["TF_CONFIG"])["cluster"]["worker"]
    return {int(worker.rpartition(":")[2]) for worker in workers}


def service_port(uid: str = UID, port: int | None = None, **pod_spec: Any) -> int:
    job = make_job(nodes=2, rendezvousPort=port)
    job["spec"]["template"]["spec"] |= pod_spec
    made = service_manifest(make_view(nodes=2, uid=uid), parse_spec(job["spec"]))
    [only] = made["spec"]["ports"]
    return int(only["port"])


@pytest.mark.parametrize("framework", ADDRESS_OF)
def test_the_rendezvous_port_is_29500_or_the_one_in_the_spec(framework: str) -> None:
    assert ports_of(pod(nodes=2, framework=framework), framework) == {29500}
    for shared in (False, True):
        named = pod(nodes=2, framework=framework, port=3333, hostNetwork=shared)
        assert ports_of(named, framework) == {3333}
    assert (service_port(), service_port(port=3333)) == (29500, 3333)


@pytest.mark.parametrize("framework", [name for name in ADDRESS_OF if name != "TensorFlow"])
def test_a_job_on_the_host_network_has_a_port_of_its_own_in_every_attempt(framework: str) -> None:
    def ports(uid: str, attempt: int) -> set[int]:
        made = pod(nodes=2, framework=framework, uid=uid, attempt=attempt, hostNetwork=True)
        return ports_of(made, framework)

    [port] = ports(UID, 0)

    assert port in range(FIRST_HOST_PORT, FIRST_HOST_PORT + HOST_PORTS)
    assert ports(UID, 7) == {port} == {service_port(hostNetwork=True)}
    assert ports(OTHER_UID, 0) == {service_port(OTHER_UID, hostNetwork=True)} != {port}


def test_workers_that_all_listen_have_a_port_each_on_the_host_network() -> None:
    made = pod(nodes=1000, framework="TensorFlow", hostNetwork=True)

    ports = ports_of(made, "TensorFlow")

    first = service_port(hostNetwork=True)
    assert ports == set(range(first, first + 1000))


def test_ports_on_the_host_network_avoid_node_ports_and_ephemeral_ports() -> None:
    assert FIRST_HOST_PORT + HOST_PORTS + 1000 <= 30_000
