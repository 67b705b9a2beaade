"""What a machine must have and allow for a real node on it; what is missing is said before anything starts.

A container or a hardened kernel can refuse each of these things, and a kubelet or a kube-proxy that
finds out itself dies minutes later with words that name no cause. So each is tried, and undone.
"""

import contextlib
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
_PROBE: Final = "trainingjob-probe"
_BRIDGE: Final = "trainingjob9"
_FREE_BYTES: Final = 4 * 2**30
_MEMORY_KIB: Final = 2 * 2**20


def missing(disk: Path) -> list[str]:
    """Return what stands against a real node on this machine, each as a clause; nothing: it can be had.

    Args:
        disk: below which its state is to be.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return ["it takes root on Linux"]  # without which nothing else can be tried
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    absent += [f"{PLUGINS}/{name}" for name in _PLUGINS if not Path(PLUGINS, name).exists()]
    if absent:
        return [f"{', '.join(absent)} missing (on Debian: apt-get install {DEBIAN})"]
    checks: tuple[Callable[[], object], ...] = (
        refuse_beside_another_node,
        _check_cgroups,
        _check_kernel_log,
        _check_sysctls,
        _check_bridge,
        _check_firewall,
        lambda: _check_overlay(disk),
        lambda: _check_room(disk),
    )
    return [reason for check in checks for reason in _reasons(check)]


def _reasons(check: Callable[[], object]) -> Iterator[str]:
    try:
        check()
    except (NodeError, OSError, subprocess.SubprocessError) as error:
        yield " ".join(str(error).split())


def _check_cgroups() -> None:
    known = _CGROUPS / "cgroup.controllers"
    if known.exists():
        lacks = sorted(_CONTROLLERS - set(known.read_text().split()))
        if lacks:
            raise NodeError(
                f"the cgroup controllers {', '.join(lacks)} are not given to this machine"
            )
        root = _CGROUPS
    else:
        root = _CGROUPS / "memory"
        if not root.is_dir():
            raise NodeError("there are no cgroups with a memory limit at /sys/fs/cgroup")
    try:
        (root / _PROBE).mkdir()
        (root / _PROBE).rmdir()
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
    with contextlib.ExitStack() as undo:
        run("ip", "link", "add", _BRIDGE, "type", "bridge")
        undo.callback(run, "ip", "link", "delete", _BRIDGE)
        run("unshare", "--net", "true")  # as each pod has it


def _check_firewall() -> None:
    nat = ("iptables", "--table", "nat")
    with contextlib.ExitStack() as undo:
        run(*nat, "--new-chain", _PROBE)
        undo.callback(run, *nat, "--delete-chain", _PROBE)
        undo.callback(run, *nat, "--flush", _PROBE)
        # What kube-proxy's own rules are made of.
        match = ("--match", "comment", "--comment", "probe", "--match", "statistic")
        chance = ("--mode", "random", "--probability", "0.5", "--jump", "RETURN")
        run(*nat, "--append", _PROBE, *match, *chance)
        state = ("--match", "conntrack", "--ctstate", "NEW", "--jump", "RETURN")
        run(*nat, "--append", _PROBE, *state)
        run(*nat, "--append", _PROBE, "--jump", "MARK", "--or-mark", "0x4000")


def _check_overlay(disk: Path) -> None:
    """Images lie on one another by overlayfs, which does not lie on another overlayfs."""
    with tempfile.TemporaryDirectory(prefix=_PROBE, dir=disk) as name:
        lower, upper, work, merged = (Path(name, each) for each in ("l", "u", "w", "m"))
        for each in (lower, upper, work, merged):
            each.mkdir()
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        try:
            run("mount", "-t", "overlay", "overlay", "-o", options, merged)
        except NodeError as error:
            raise NodeError(f"no overlayfs can be mounted below {disk}: {error}") from error
        run("umount", merged)


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
