"""Sets up the network of a node: a bridge between the pods and the programs of this machine."""

import contextlib
import json
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Final

from hack.cluster.node.shell import NodeError, run

NAME: Final = "trainingjob0"
ADDRESS: Final = IPv4Interface("10.88.78.1/24")
"""The machine's own address there: the API server, the kubelet and CoreDNS listen on it."""

SYSCTLS: Final = ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables")
"""Kernel settings by which pods reach other networks, and Services whose pod is on the same bridge."""
_FIREWALL: Final = "KUBE-FIREWALL"
"""A chain of the kubelet that kube-proxy creates, too, and does not remove at its clean-up."""
IPTABLES: Final = ("iptables", "ip6tables")
_PROC_SYS: Final = Path("/proc/sys")


def make_bridge(state: Path) -> None:
    """Create the bridge and enable forwarding; save the previous settings in `state`.

    Raises:
        NodeError: this machine does not allow it.
    """
    is_loaded = (_PROC_SYS / SYSCTLS[1]).exists()
    if not is_loaded:
        run("modprobe", "br_netfilter")
    sysctls = {name: (_PROC_SYS / name).read_text().strip() for name in SYSCTLS}
    if not is_loaded:
        sysctls[SYSCTLS[1]] = "0"  # without the module bridged packets pass no firewall
    firewalls = [program for program in IPTABLES if has_chain(program, _FIREWALL)]
    _noted(state).write_text(json.dumps({"sysctls": sysctls, "firewalls": firewalls}))
    run("ip", "link", "add", NAME, "type", "bridge")
    run("ip", "address", "add", str(ADDRESS), "dev", NAME)
    run("ip", "link", "set", NAME, "up")
    for name in SYSCTLS:
        (_PROC_SYS / name).write_text("1")


def remove_bridge(state: Path) -> None:
    """Remove the bridge and restore the previous settings, as far as they exist."""
    with contextlib.suppress(NodeError):  # it is not there
        run("ip", "link", "delete", NAME)
    if not _noted(state).exists():
        return
    before = json.loads(_noted(state).read_text())
    for name, value in before["sysctls"].items():
        (_PROC_SYS / name).write_text(value)
    for program in IPTABLES:
        if program not in before["firewalls"] and has_chain(program, _FIREWALL):
            _remove_firewall(program)
    _noted(state).unlink()


def is_noted(state: Path) -> bool:
    """Return True if a node with this state directory was started and not cleaned up."""
    return _noted(state).exists()


def has_chain(program: str, chain: str, *, table: str = "filter") -> bool:
    """Return True if one of `IPTABLES` has a chain of this name."""
    with contextlib.suppress(NodeError):
        run(program, "--table", table, "--list", chain, "--numeric")
        return True
    return False


def _remove_firewall(program: str) -> None:
    for chain in ("INPUT", "OUTPUT"):
        with contextlib.suppress(NodeError):  # nothing leads there
            run(program, "--delete", chain, "--jump", _FIREWALL)
    run(program, "--flush", _FIREWALL)
    run(program, "--delete-chain", _FIREWALL)


def _noted(state: Path) -> Path:
    return state / "before.json"
