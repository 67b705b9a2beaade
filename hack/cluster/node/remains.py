"""Removes what a node, or a killed run of one, has left: containers, mounts and cgroups.

Containers and mounts are identified by this node's state directory. Cgroups are identified by name, and only
empty ones are removed (`hack.cluster.node.others` ensures that there is no other kubelet here).
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hack.cluster.node.bridge import remove_bridge
from hack.cluster.node.shell import NodeError, run

_CGROUPS: Final = Path("/sys/fs/cgroup")
_PATIENCE_S: Final = 10.0


def remove_remains(state: Path) -> None:
    """Remove what a node with this state directory has left, and restore the kernel's settings."""
    deadline = time.monotonic() + _PATIENCE_S
    while pids := list(_processes(state)):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise NodeError(f"processes of an earlier node do not end: {pids}")
        time.sleep(0.1)
    for mount in sorted(_mounts(state), reverse=True):
        try:
            run("umount", "--lazy", mount)
        except NodeError:
            if mount in _mounts(state):  # else it has gone with another one
                raise
    remove_bridge(state)
    for folder in sorted(_CGROUPS.glob("**/kubepods*/**/"), reverse=True):
        with contextlib.suppress(OSError):  # another program uses it
            folder.rmdir()


def _processes(state: Path) -> Iterator[int]:
    """Yield the processes of containers whose root is below the directory, and their shims."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_text()
            mounted = (folder / "mountinfo").read_text().splitlines()
        except OSError:
            continue  # it has ended
        root = next((line for line in mounted if line.split()[4] == "/"), "")
        is_shim = "containerd-shim" in command and f"{state}/" in command
        if is_shim or f"={state}/" in root:
            yield int(folder.name)


def _mounts(state: Path) -> list[str]:
    lines = Path("/proc/mounts").read_text().splitlines()
    targets = [line.split()[1] for line in lines]
    return [target for target in targets if target.startswith(f"{state}/")]
