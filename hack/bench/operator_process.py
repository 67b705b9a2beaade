"""Our operator beside a control plane, with a service account of its own."""

import socket
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hack.bench.contestants import OPERATOR_ACCOUNT
from hack.cluster.control_plane import ControlPlane
from hack.cluster.process import Program

_PATIENCE_S: Final = 60.0


@contextmanager
def operator(plane: ControlPlane) -> Iterator[int]:
    """Run the operator; its process id, when it says that it is ready."""
    kubeconfig = _account(plane)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    program = Program(
        [
            "env",
            f"KUBECONFIG={kubeconfig}",
            f"TRAININGJOB_WEB__ADDRESS={address}",
            "TRAININGJOB_LOGGING__FORMAT=json",
            sys.executable,
            *("-m", "trainingjob_cli", "operator"),
        ],
        plane.root / "operator.log",
    )
    try:
        program.wait_until(lambda: _is_ready(address), patience_s=_PATIENCE_S)
        yield program.pid
    finally:
        program.stop()


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's own number
    except OSError:
        return False


def _account(plane: ControlPlane) -> Path:
    """A kubeconfig for the account.

    It may do anything: rights are not what is measured, and checking them costs the same whatever
    they are.
    """
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    metadata = {"name": OPERATOR_ACCOUNT}
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
    answer = plane.request(f"{accounts}/{OPERATOR_ACCOUNT}/token", asked)
    path = plane.root / "operator.kubeconfig"
    return plane.authority.token_kubeconfig(path, plane.server, answer["status"]["token"])
