"""Replaces host names of ranks by loopback addresses, for the names that a cluster would resolve.

A cluster has two sources of names. The pod's /etc/hosts has its own host name, unless the pod uses
the host's network. The cluster's DNS has each rank as a subdomain of the job's headless Service, and
is used only under some DNS policies. A name that a cluster would not resolve is not replaced, so
that a job whose ranks would not find each other on a cluster does not work here either.
"""

import re
from collections.abc import Callable
from typing import Final

from trainingjob_sandbox.node.addresses import AddressBook, gang_of
from trainingjob_sandbox.node.constants import LOOPBACK, Object

_NOT_BEFORE: Final = r"(?<![\w.-])"
_NOT_AFTER: Final = r"\.?(?![\w.-])"
_CLUSTER: Final = "svc.cluster.local"


def is_on_host_network(pod: Object) -> bool:
    """True if the pod uses the node's network."""
    return pod["spec"].get("hostNetwork") is True


def host_name(pod: Object, node: str) -> str:
    """Return what `hostname` prints in the pod's containers.

    Args:
        pod: the pod.
        node: the name of the node.
    """
    spec = pod["spec"]
    if is_on_host_network(pod):
        return node
    own = spec.get("hostnameOverride") or spec.get("hostname") or pod["metadata"]["name"]
    return str(own)


def resolver(pod: Object, addresses: AddressBook) -> Callable[[str], str]:
    """Return a function that replaces, in a text, the host names this pod can resolve by addresses."""
    namespace, name = str(pod["metadata"]["namespace"]), str(pod["metadata"]["name"])
    shared = is_on_host_network(pod)
    own, peers = _own_names(pod, namespace), _peers(pod, namespace)

    def address(of: str) -> str:
        return LOOPBACK if shared else addresses.address(namespace, of)

    def resolve(text: str) -> str:
        if own is not None:
            text = own.sub(lambda found: address(name), text)
        if peers is not None:
            text = peers.sub(lambda found: address(found[1]), text)
        return text

    return resolve


def _own_names(pod: Object, namespace: str) -> "re.Pattern[str] | None":
    """Match the pod's own names in /etc/hosts: its host name, and its FQDN if it has a subdomain."""
    if is_on_host_network(pod):
        return None
    name, subdomain = host_name(pod, ""), pod["spec"].get("subdomain")
    full = f"(?:\\.{re.escape(f'{subdomain}.{namespace}.{_CLUSTER}')})?" if subdomain else ""
    return re.compile(f"{_NOT_BEFORE}{re.escape(name)}{full}{_NOT_AFTER}")


def _peers(pod: Object, namespace: str) -> "re.Pattern[str] | None":
    """Match the DNS names of all ranks of this pod's attempt, the pod included; None without DNS."""
    spec = pod["spec"]
    gang = gang_of(str(spec.get("hostname") or ""))
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    asks = "ClusterFirstWithHostNet" if is_on_host_network(pod) else "ClusterFirst"
    if not gang or not spec.get("subdomain") or policy not in {asks, "ClusterFirstWithHostNet"}:
        return None
    service, domain = re.escape(str(spec["subdomain"])), re.escape(namespace)
    return re.compile(
        f"{_NOT_BEFORE}({re.escape(gang)}-\\d+)"
        rf"\.{service}(?:\.{domain}(?:\.svc(?:\.cluster\.local)?)?)?{_NOT_AFTER}"
    )
