"""Our operator beside a control plane, as a user whom only a client certificate names."""

import socket
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hack.bench.contestants import OPERATOR_USER
from hack.cluster.control_plane import ControlPlane
from hack.cluster.process import Program

_PATIENCE_S: Final = 60.0


@contextmanager
def operator(plane: ControlPlane) -> Iterator[int]:
    """Run the operator; its process id, when it says that it is ready."""
    _grant_everything(plane)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    program = Program(
        [
            "env",
            f"KUBECONFIG={plane.kubeconfig_for(OPERATOR_USER)}",
            f"TRAININGJOB_WEB__ADDRESS={address}",
            "TRAININGJOB_LOGGING__FORMAT=json",
            sys.executable,
            *("-m", "trainingjob_operator", "operator"),
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


def _grant_everything(plane: ControlPlane) -> None:
    """Rights are not what is measured; checking them costs the same whatever they are."""
    rbac = "rbac.authorization.k8s.io"
    plane.request(
        f"/apis/{rbac}/v1/clusterrolebindings",
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": OPERATOR_USER},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": OPERATOR_USER}],
        },
    )
