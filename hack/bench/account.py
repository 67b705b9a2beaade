"""Creates service accounts for the operators of the benchmark, as in an install."""

from pathlib import Path

from hack.bench.contestants import Operator, account_of
from hack.cluster.control_plane import ControlPlane


def kubeconfig_of(plane: ControlPlane, operator: Operator) -> Path:
    """Create an operator's account, if it does not exist, and write a kubeconfig for it.

    It has all rights: they are not measured, and their check costs the same whatever they are.
    """
    path = plane.root / f"{operator}.kubeconfig"
    if path.exists():
        return path
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    name = account_of(operator)
    metadata = {"name": name}
    plane.request(accounts, {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": metadata})
    rbac = "rbac.authorization.k8s.io"
    plane.request(
        f"/apis/{rbac}/v1/clusterrolebindings",
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "namespace": "default", **metadata}],
        },
    )
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = plane.request(f"{accounts}/{name}/token", asked)
    return plane.authority.token_kubeconfig(path, plane.server, answer["status"]["token"])
