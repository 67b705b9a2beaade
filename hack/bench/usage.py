"""What a process uses, as Linux tells it."""

import os
from pathlib import Path


def rss_mb(pid: int, *, peak: bool = False) -> float:
    """Resident memory, in MiB; its peak since the process was started, if that is asked for."""
    name = "VmHWM:" if peak else "VmRSS:"
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(f"process {pid} has no memory: it has ended")


def cpu_s(pid: int) -> float:
    """Seconds of CPU since its start, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_cpu_s() -> dict[str, float]:
    """Seconds of CPU that all cores have been `busy`, `idle` and `stolen` by the host."""
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "stolen")
    ticks = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9])
    spent = {
        name: tick / os.sysconf("SC_CLK_TCK") for name, tick in zip(names, ticks, strict=True)
    }
    idle, stolen = spent["idle"] + spent["iowait"], spent["stolen"]
    return {"busy": sum(spent.values()) - idle - stolen, "idle": idle, "stolen": stolen}
