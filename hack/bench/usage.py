"""Reads the resource usage of processes and of the machine from /proc."""

import os
from pathlib import Path


def rss_mb(pid: int, *, peak: bool = False) -> float:
    """Return the resident memory in MiB, or its peak since the process was started."""
    name = "VmHWM:" if peak else "VmRSS:"
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(f"process {pid} has no memory: it has ended")


def cpu_s(pid: int) -> float:
    """Return the CPU seconds since its start, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_cpu_s() -> dict[str, float]:
    """Return the seconds for which all cores were `busy`, `idle` and `stolen` by the host."""
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "stolen")
    ticks = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9])
    spent = {
        name: tick / os.sysconf("SC_CLK_TCK") for name, tick in zip(names, ticks, strict=True)
    }
    idle, stolen = spent["idle"] + spent["iowait"], spent["stolen"]
    return {"busy": sum(spent.values()) - idle - stolen, "idle": idle, "stolen": stolen}
