"""Detects another Kubernetes node on this machine, beside which ours must not run.

Both would write the same firewall chains, and kube-proxy's clean-up would remove those of the other one.
"""

import contextlib
from pathlib import Path
from typing import Final

from hack.cluster.node.bridge import IPTABLES, has_chain, is_noted
from hack.cluster.node.shell import NodeError

_NODES: Final = frozenset({"kubelet", "k3s", "k3s-server", "k3s-agent", "k0s", "rke2", "microk8s"})


def refuse_beside_another_node(state: Path) -> None:
    """Refuse to start if a node of another Kubernetes runs, or has left its Services' rules.

    If a node of ours was started and not cleaned up, the rules are its own.

    Args:
        state: the state directory of our node.

    Raises:
        NodeError: there is one. The message names what was found.
    """
    if is_noted(state):
        return
    found = [f"the process {name}" for name in sorted(_NODES & _running())]
    found += [
        f"the chain KUBE-SERVICES of {program}"
        for program in IPTABLES
        if has_chain(program, "KUBE-SERVICES", table="nat")
    ]
    if _has_virtual_servers():
        found.append("virtual servers of IPVS")
    if found:
        raise NodeError(
            f"this machine runs a Kubernetes of its own ({', '.join(found)}), whose network a second "
            "node would break: use another machine"
        )


def _running() -> set[str]:
    names = set()
    for command in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # it has ended
            names.add(command.read_text().strip())
    return names


def _has_virtual_servers() -> bool:
    with contextlib.suppress(OSError):
        lines = Path("/proc/net/ip_vs").read_text().splitlines()
        return any(line.startswith(("TCP", "UDP", "SCTP", "FWM")) for line in lines)
    return False
