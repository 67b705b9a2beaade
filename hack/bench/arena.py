"""Starts the environment of one contestant: a control plane, simulated nodes, and the contestant."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from hack.bench import audit, definitions
from hack.bench.access import Access
from hack.bench.contestants import MANAGER, Contestant, Operator
from hack.bench.manifests import PATHS
from hack.bench.operator_process import operator
from hack.bench.other_process import other_operator
from hack.cluster.control_plane import ControlPlane, Options
from hack.cluster.process import Program

Nodes = Literal["kwok", "completer"]

_STAGES: Final = Path(__file__).with_name("stages.yaml")
_NODES: Final = 10
_PATIENCE_S: Final = 30.0


@dataclass(frozen=True)
class Arena:
    """A contestant that is ready to run jobs.

    Attributes:
        plane: its control plane.
        contestant: the contestant that runs here.
        pids: the measured processes by name; `contestant.processes` are its own.
    """

    plane: ControlPlane
    contestant: Contestant
    pids: dict[str, int]

    def access(self, user: str) -> Access:
        """Return access that is exempt from priority and fairness, so that the benchmark does not delay itself."""
        return access_to(self.plane, user)


@contextmanager
def arena(assets: Path, root: Path, contestant: Contestant, nodes: Nodes) -> Iterator[Arena]:
    """Start everything with an empty etcd that syncs to disk; enter it in the main thread."""
    options = Options(
        scheduler=nodes == "kwok",
        scheduler_qps=2000,
        durable=True,
        # The requests are counted from one unrotated audit log.
        api_server=("--audit-log-maxsize=10000",),
        controllers=contestant.controllers(nodes=nodes == "kwok"),
    )
    with ControlPlane(assets, root, options) as plane, ExitStack() as stack:
        pids = {
            "api-server": plane.pid("kube-apiserver"),
            "etcd": plane.pid("etcd"),
            MANAGER: plane.pid("kube-controller-manager"),
        }
        start = _kwok if nodes == "kwok" else start_completer
        program = start(assets, plane)
        stack.callback(program.stop)
        pids[nodes] = program.pid
        if nodes == "kwok":
            pids["scheduler"] = plane.pid("kube-scheduler")
        for name in contestant.operators:
            pids[name] = stack.enter_context(_operator(plane, name))
        wait_for_garbage_collector(plane, contestant)
        yield Arena(plane, contestant, pids)


@contextmanager
def _operator(plane: ControlPlane, name: Operator) -> Iterator[int]:
    if name == "operator":
        definitions.install(plane, sorted(definitions.OURS.glob("*.yaml")))
    with operator(plane) if name == "operator" else other_operator(plane, name) as pid:
        yield pid


def access_to(plane: ControlPlane, user: str) -> Access:
    """Return access for a user who is exempt from the API server's priority and fairness."""
    files = plane.authority.client(user, group="system:masters")
    return Access(
        plane.server,
        str(plane.authority.certificate),
        str(files.certificate),
        str(files.key),
    )


def start_completer(assets: Path, plane: ControlPlane) -> Program:
    """Start the completer, which sets every pod to Running, and to Succeeded after its run time."""
    access = access_to(plane, "bench-completer").dumps()
    return Program(
        [sys.executable, "-m", "hack.bench.completer", access], plane.root / "completer.log"
    )


def _kwok(assets: Path, plane: ControlPlane) -> Program:
    for number in range(_NODES):
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{number}"}}
        plane.request("/api/v1/nodes", node)
    return Program(
        [
            assets / "kwok",
            f"--kubeconfig={plane.kubeconfig_for('bench-kwok', group='system:masters')}",
            f"--config={_STAGES}",
            "--manage-all-nodes=true",
            "--node-lease-duration-seconds=40",
        ],
        plane.root / "kwok.log",
    )


def wait_for_garbage_collector(plane: ControlPlane, contestant: Contestant) -> None:
    """Wait until the garbage collector watches a custom kind, which it discovers within half a minute.

    Until then it reads the owner of each pod from the API server, which happens only in the first
    moments of a cluster.
    """
    if "." not in PATHS[contestant.kind]:  # a built-in kind
        return
    resource = f"{contestant.kind.lower()}s"
    deadline = time.monotonic() + 2 * _PATIENCE_S
    while not audit.watches(plane.audit_log, audit.CONTROLLER_MANAGER, resource):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the garbage collector does not watch {resource}")
        time.sleep(0.5)
