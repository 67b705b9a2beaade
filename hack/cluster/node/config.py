"""Builds the configuration of a node's programs: kubelet, kube-proxy, CoreDNS."""

from pathlib import Path
from typing import Any, Final

from hack.cluster.control_plane import ControlPlane
from hack.cluster.node.bridge import ADDRESS
from hack.cluster.node.containerd import Containerd

NODE: Final = "node1"
DNS_USER: Final = "trainingjob:coredns"
DNS_READY: Final = "127.0.0.1:11154"
"""Address of CoreDNS's readiness endpoint. `hack.ports` gives out no port as low as this."""

_ADDRESS: Final = str(ADDRESS.ip)
_RBAC: Final = "rbac.authorization.k8s.io"

DNS_RIGHTS: Final[tuple[dict[str, Any], ...]] = (
    {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "trainingjob-coredns"},
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["services", "pods", "namespaces", "endpoints"],
                "verbs": ["list", "watch"],
            },
            {
                "apiGroups": ["discovery.k8s.io"],
                "resources": ["endpointslices"],
                "verbs": ["list", "watch"],
            },
        ],
    },
    {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "trainingjob-coredns"},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "trainingjob-coredns"},
        "subjects": [{"kind": "User", "name": DNS_USER, "apiGroup": _RBAC}],
    },
)


def kubelet(state: Path, plane: ControlPlane, containerd: Containerd) -> dict[str, Any]:
    """Return the kubelet's configuration: with container limits, and without reserved resources."""
    serving = plane.authority.server("kubelet", _ADDRESS, NODE)
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": _ADDRESS,
        "healthzBindAddress": "127.0.0.1",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{containerd.socket}",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(plane.authority.certificate)},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "tlsCertFile": str(serving.certificate),
        "tlsPrivateKeyFile": str(serving.key),
        "clusterDNS": [_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": "/etc/resolv.conf",
        "maxPods": 200,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": False,
        # Else it leaves firewall chains behind.
        "makeIPTablesUtilChains": False,
        "podLogsDir": str(state / "pod-logs"),
    }


def proxy(kubeconfig: Path) -> dict[str, Any]:
    """Return kube-proxy's configuration; it does not change the machine's connection tracking."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "bindAddress": _ADDRESS,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": str(ADDRESS.network),
        "hostnameOverride": NODE,
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
        "iptables": {"localhostNodePorts": False},
    }


def corefile(kubeconfig: Path) -> str:
    """Return CoreDNS's configuration: it forwards other names to this machine's name servers."""
    return f"""\
.:53 {{
    bind {_ADDRESS}
    errors
    ready {DNS_READY}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 5
    }}
    forward . /etc/resolv.conf
    cache 5
    loadbalance
}}
"""
