"""Runs our operator beside a control plane, with a service account of its own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hack.bench.account import kubeconfig_of
from hack.bench.endpoints import ready
from hack.cluster.control_plane import ControlPlane
from hack.ports import free_port


@contextmanager
def operator(plane: ControlPlane, **environment: str) -> Iterator[int]:
    """Run the operator, with additional variables; yield its process id once it is ready."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        "env",
        f"KUBECONFIG={kubeconfig_of(plane, 'operator')}",
        f"TRAININGJOB_WEB__ADDRESS={address}",
        "TRAININGJOB_LOGGING__FORMAT=json",
        *(f"{name}={value}" for name, value in environment.items()),
        sys.executable,
        *("-m", "trainingjob_cli", "operator"),
    ]
    with ready(command, plane.root / "operator.log", address) as pid:
        yield pid
