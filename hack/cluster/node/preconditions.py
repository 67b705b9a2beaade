"""Checks whether this machine can run a real node, and reports what is missing before anything starts.

A container or a hardened kernel can refuse each requirement, and a kubelet or a kube-proxy would fail minutes
later without naming the cause. So each operation is tried and undone; the next probe removes what a killed
one has left.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from hack.cluster.node.bridge import SYSCTLS
from hack.cluster.node.containerd import PLUGINS
from hack.cluster.node.others import refuse_beside_another_node
from hack.cluster.node.shell import DEBIAN, NodeError, run

PROGRAMS: Final = ("containerd", "ctr", "runc", "iptables", "ip", "mount", "umount", "unshare")
_PLUGINS: Final = ("bridge", "host-local", "loopback")
_CONTROLLERS: Final = frozenset({"cpu", "memory", "pids"})
_CGROUPS: Final = Path("/sys/fs/cgroup")
PROBE: Final = "trainingjob-probe"
"""The name of every temporary object of the probes, except the bridge, whose name must be short."""
_LOCK: Final = Path("/run/lock/trainingjob-probe.lock")
_NAT: Final = ("iptables", "--table", "nat")
_BRIDGE: Final = "trainingjob9"
_FREE_BYTES: Final = 4 * 2**30
_MEMORY_KIB: Final = 2 * 2**20


def missing(state: Path) -> list[str]:
    """Return the reasons why this machine cannot run a real node, each as a clause; empty if it can.

    Left-overs of a killed run of ours are no reason: the next node removes them.

    Args:
        state: the future state directory.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return ["it takes root on Linux"]  # without which nothing else can be tried
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    absent += [f"{PLUGINS}/{name}" for name in _PLUGINS if not Path(PLUGINS, name).exists()]
    if absent:
        return [f"{', '.join(absent)} missing (on Debian: apt-get install {DEBIAN})"]
    disk = state.parent
    checks: tuple[Callable[[], object], ...] = (
        lambda: refuse_beside_another_node(state),
        _check_cgroups,
        _check_kernel_log,
        _check_sysctls,
        _check_bridge,
        _check_firewall,
        lambda: _check_overlay(disk),
        lambda: _check_room(disk),
    )
    with _LOCK.open("w") as lock, contextlib.ExitStack() as undo:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the probes have the same names each time
        _remove_probes(disk)
        undo.callback(_remove_probes, disk)
        return [reason for check in checks for reason in _reasons(check)]


def _remove_probes(disk: Path) -> None:
    """Remove the temporary objects of probes, as far as they exist."""
    for command in (
        (*_NAT, "--flush", PROBE),
        (*_NAT, "--delete-chain", PROBE),
        ("ip", "link", "delete", _BRIDGE),
    ):
        with contextlib.suppress(NodeError):
            run(*command)
    for folder in disk.glob(f"{PROBE}*"):
        with contextlib.suppress(NodeError):
            run("umount", folder / "m")
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        (_cgroup_root() / PROBE).rmdir()


def _cgroup_root() -> Path:
    """Return the directory for cgroups with a memory limit, of version 2 or 1."""
    return _CGROUPS if (_CGROUPS / "cgroup.controllers").exists() else _CGROUPS / "memory"


def _reasons(check: Callable[[], object]) -> Iterator[str]:
    try:
        check()
    except (NodeError, OSError, subprocess.SubprocessError) as error:
        yield " ".join(str(error).split())


def _check_cgroups() -> None:
    root = _cgroup_root()
    if root == _CGROUPS:
        lacks = sorted(_CONTROLLERS - set((root / "cgroup.controllers").read_text().split()))
        if lacks:
            raise NodeError(
                f"the cgroup controllers {', '.join(lacks)} are not given to this machine"
            )
    elif not root.is_dir():
        raise NodeError("there are no cgroups with a memory limit at /sys/fs/cgroup")
    try:
        (root / PROBE).mkdir()
    except OSError as error:
        raise NodeError(f"no cgroup can be made in {root}: {error.strerror}") from error


def _check_kernel_log() -> None:
    try:
        os.close(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK))
    except OSError as error:
        raise NodeError(
            f"the kubelet cannot read /dev/kmsg ({error.strerror}), where it sees what the kernel kills"
        ) from error


def _check_sysctls() -> None:
    for name in SYSCTLS:
        path = Path("/proc/sys", name)
        if path.exists() and not os.access(path, os.W_OK):
            raise NodeError(f"{path} cannot be written")
    if not Path("/proc/sys", SYSCTLS[1]).exists():
        try:
            run("modprobe", "--dry-run", "br_netfilter")
        except NodeError as error:
            raise NodeError(f"the kernel module br_netfilter cannot be loaded: {error}") from error


def _check_bridge() -> None:
    run("ip", "link", "add", _BRIDGE, "type", "bridge")
    run("unshare", "--net", "true")  # as each pod has it


def _check_firewall() -> None:
    run(*_NAT, "--new-chain", PROBE)
    # What kube-proxy's own rules are made of.
    match = ("--match", "comment", "--comment", "probe", "--match", "statistic")
    chance = ("--mode", "random", "--probability", "0.5", "--jump", "RETURN")
    run(*_NAT, "--append", PROBE, *match, *chance)
    state = ("--match", "conntrack", "--ctstate", "NEW", "--jump", "RETURN")
    run(*_NAT, "--append", PROBE, *state)
    run(*_NAT, "--append", PROBE, "--jump", "MARK", "--or-mark", "0x4000")


def _check_overlay(disk: Path) -> None:
    """Check that overlayfs works for image layers: it cannot be mounted on another overlayfs."""
    folder = Path(tempfile.mkdtemp(prefix=PROBE, dir=disk))
    lower, upper, work, merged = (folder / each for each in ("l", "u", "w", "m"))
    for each in (lower, upper, work, merged):
        each.mkdir()
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    try:
        run("mount", "-t", "overlay", "overlay", "-o", options, merged)
    except NodeError as error:
        raise NodeError(f"no overlayfs can be mounted below {disk}: {error}") from error


def _check_room(disk: Path) -> None:
    free = shutil.disk_usage(disk).free
    if free < _FREE_BYTES:
        raise NodeError(
            f"{free >> 20} MiB are free below {disk}, of {_FREE_BYTES >> 20} that it takes"
        )
    [line] = [
        line for line in Path("/proc/meminfo").read_text().splitlines() if "MemAvailable" in line
    ]
    if (available := int(line.split()[1])) < _MEMORY_KIB:
        raise NodeError(
            f"{available >> 10} MiB of memory are free, of {_MEMORY_KIB >> 10} that it takes"
        )
