"""Reads memory use and its limit from the cgroup (v1 or v2), else from the node's `/proc/meminfo`.

The kernel's OOM killer goes by the cgroup's limit, so that counts. Reclaimable page cache does not
count as used: the sweep of a volume fills it, and must not look like pressure.

A limit beyond the node's memory is no limit: cgroup v1 writes "no limit" as a number near 2^63.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CGROUPS: Final = Path("sys/fs/cgroup")
_CGROUPS_V1: Final = _CGROUPS / "memory"
_OWN: Final = Path("proc/self/cgroup")
_MACHINE: Final = Path("proc/meminfo")
_RESIDENT: Final = Path("proc/self/statm")
_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Used bytes, and their limit.

    Attributes:
        source: `cgroup` or `node`.
    """

    used: int
    limit: int
    source: str

    @property
    def percent(self) -> float:
        """The share that is used, in percent."""
        return 100.0 * self.used / self.limit


class MemoryMeter:
    """Reads the use of this process's cgroup and of its parents, else that of the node."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Prepare to read.

        Args:
            root: where `sys` and `proc` are.
        """
        self._root: Final = root

    def read(self) -> MemoryUse | None:
        """Return the account that is fullest; None: there is none that can be read."""
        machine = self._machine()
        ceiling = machine.limit if machine is not None else None
        found = [
            use
            for use in (*self._second_version(), *self._first_version())
            if use.limit > 0 and (ceiling is None or use.limit < ceiling)
        ]
        return max(found, key=lambda use: use.percent, default=machine)

    def _second_version(self) -> Iterator[MemoryUse]:
        for folder in self._folders(_CGROUPS, controller=""):
            limit, used = _number(folder / "memory.max"), _number(folder / "memory.current")
            if limit is not None and used is not None:
                stat = _table(folder / "memory.stat")
                # Cached directory entries count as slab, and are reclaimed as easily.
                idle = stat.get("inactive_file", 0) + stat.get("slab_reclaimable", 0)
                yield MemoryUse(max(used - idle, 0), limit, "cgroup")

    def _first_version(self) -> Iterator[MemoryUse]:
        for folder in self._folders(_CGROUPS_V1, controller="memory"):
            limit = _number(folder / "memory.limit_in_bytes")
            used = _number(folder / "memory.usage_in_bytes")
            if limit is not None and used is not None:
                idle = _table(folder / "memory.stat").get("total_inactive_file", 0)
                yield MemoryUse(max(used - idle, 0), limit, "cgroup")

    def _folders(self, mount: Path, *, controller: str) -> Iterator[Path]:
        """Yield the folders of this process's cgroup and its parents; each can have a limit.

        In a container the path can be that of the host, which does not exist there; the container's
        own cgroup is then at the top.
        """
        top = self._root / mount
        own = top / self._own_path(controller).lstrip("/")
        while own != top and top in own.parents:
            yield own
            own = own.parent
        yield top

    def _own_path(self, controller: str) -> str:
        for line in _text(self._root / _OWN).splitlines():
            _, controllers, path = [*line.split(":", 2), "", ""][:3]
            if controller in controllers.split(","):
                return path if ".." not in path else ""
        return ""

    def _machine(self) -> MemoryUse | None:
        table = _table(self._root / _MACHINE)
        total, available = table.get("MemTotal:"), table.get("MemAvailable:")
        if not total or available is None:
            return None
        return MemoryUse((total - available) * _KIB, total * _KIB, "node")


def resident_bytes(root: Path = Path("/")) -> int:
    """Resident memory of this process (RSS) in bytes; 0 where it is unknown."""
    fields = _text(root / _RESIDENT).split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    """Return the number in a file; None if it holds none, as for `max`."""
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _table(path: Path) -> dict[str, int]:
    """Parse a file whose lines are a name and a number."""
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
