"""A pod of the sandbox resolves the host names that it would resolve on a cluster, and no others."""

import json
from typing import Any

import pytest

from trainingjob_sandbox.node.addresses import AddressBook
from trainingjob_sandbox.node.host_names import host_name, resolver

Object = dict[str, Any]

SERVICE = "digits-0a1b2c3d"
GANG = f"{SERVICE}-0"
FIRST = f"{GANG}-0"
IN_DNS = tuple(
    f"{FIRST}.{SERVICE}{domain}" for domain in ("", ".ns", ".ns.svc", ".ns.svc.cluster.local")
)
RANK = {"hostname": f"{GANG}-1", "subdomain": SERVICE}


def pod(name: str = f"{GANG}-1", **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "ns"}, "spec": spec}


def resolved(made: Object, text: str) -> str:
    """Return the text with host names replaced; rank 0 has 127.64.0.1 and rank 1 127.64.0.2."""
    addresses = AddressBook(own_addresses=True)
    for rank in (0, 1):
        addresses.acquire("ns", f"{GANG}-{rank}", f"u{rank}")
    return resolver(made, addresses)(text)


@pytest.mark.parametrize("name", IN_DNS)
@pytest.mark.parametrize("dot", ["", "."])
def test_a_rank_finds_another_by_every_name_that_dns_has(name: str, dot: str) -> None:
    assert resolved(pod(**RANK), f"tcp://{name}{dot}:29500") == "tcp://127.64.0.1:29500"


def test_a_rank_finds_itself_by_its_host_name_alone_and_in_full() -> None:
    for name in (f"{GANG}-1", f"{GANG}-1.{SERVICE}.ns.svc.cluster.local"):
        assert resolved(pod(**RANK, dnsPolicy="Default"), name) == "127.64.0.2"


def test_names_within_json_are_resolved() -> None:
    hosts = [f"{GANG}-{i}.{SERVICE}:29500" for i in (0, 1, 10)]

    found = json.loads(resolved(pod(**RANK), json.dumps({"worker": hosts})))

    assert found == {"worker": ["127.64.0.1:29500", "127.64.0.2:29500", "127.64.0.3:29500"]}


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ({}, f"{GANG}-1"),
        ({"hostname": "alone"}, "alone"),
        ({"hostname": "alone", "subdomain": "elsewhere"}, "alone"),
        ({"hostname": "alone", "hostnameOverride": "renamed"}, "renamed"),
    ],
)
def test_the_only_rank_finds_itself_under_its_host_name(spec: Object, name: str) -> None:
    made = pod(**spec)

    assert host_name(made, "node") == name
    assert resolved(made, f"{name}:29500") == "127.64.0.2:29500"


def test_a_pod_with_a_host_name_of_its_own_is_not_found_by_the_name_of_the_pod() -> None:
    assert resolved(pod(hostname="alone"), f"{GANG}-1") == f"{GANG}-1"


def test_a_pod_on_the_host_network_has_the_nodes_name_and_address() -> None:
    made = pod(**RANK, hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet")

    assert host_name(made, "laptop") == "laptop"
    assert resolved(made, f"{GANG}-1") == f"{GANG}-1"  # its /etc/hosts is the node's
    assert {resolved(made, name) for name in IN_DNS} == {"127.0.0.1"}


@pytest.mark.parametrize(
    "spec",
    [
        {"dnsPolicy": "Default"},
        {"dnsPolicy": "None"},
        {"hostNetwork": True},
        {"hostNetwork": True, "dnsPolicy": "ClusterFirst"},
    ],
)
def test_a_pod_without_cluster_dns_resolves_no_other_rank(spec: Object) -> None:
    for name in IN_DNS:
        assert resolved(pod(**RANK, **spec), name) == name


@pytest.mark.parametrize(
    "text",
    [
        FIRST,  # of another rank DNS has no name without the Service's
        f"x{FIRST}.{SERVICE}",
        f"{FIRST}.{SERVICE}x",
        f"{FIRST}.{SERVICE}.other.svc",
        f"{FIRST}.example.org",
        "other-0-0",
        GANG,
    ],
)
def test_text_that_only_resembles_a_ranks_name_is_not_replaced(text: str) -> None:
    assert resolved(pod(**RANK), text) == text
