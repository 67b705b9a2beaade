"""Our operator beside a control plane, with a service account of its own."""

import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hack.bench.account import kubeconfig_of
from hack.bench.endpoints import free_port
from hack.cluster.control_plane import ControlPlane
from hack.cluster.process import Program

_PATIENCE_S: Final = 60.0


@contextmanager
def operator(plane: ControlPlane, **environment: str) -> Iterator[int]:
    """Run the operator, with more variables; its process id, when it says that it is ready."""
    address = f"127.0.0.1:{free_port()}"
    program = Program(
        [
            "env",
            f"KUBECONFIG={kubeconfig_of(plane, 'operator')}",
            f"TRAININGJOB_WEB__ADDRESS={address}",
            "TRAININGJOB_LOGGING__FORMAT=json",
            *(f"{name}={value}" for name, value in environment.items()),
            sys.executable,
            *("-m", "trainingjob_cli", "operator"),
        ],
        plane.root / "operator.log",
    )
    try:
        program.wait_until(lambda: is_ready(address), patience_s=_PATIENCE_S)
        yield program.pid
    finally:
        program.stop()


def is_ready(address: str) -> bool:
    """True if a program says on its address (`host:port`) that it is ready."""
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's own number
    except OSError:
        return False
