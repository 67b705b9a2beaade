"""Memory use as read from cgroup v1, cgroup v2 or the node's /proc/meminfo."""

from collections.abc import Callable
from pathlib import Path

import pytest

from trainingjob_operator.jobs.memory_use import MemoryMeter, MemoryUse

MIB = 1024 * 1024
NO_LIMIT_V1 = 9223372036854771712
Files = dict[str, str]

MACHINE: Files = {
    "proc/meminfo": "MemTotal: 8388608 kB\nMemFree: 1048576 kB\nMemAvailable: 2097152 kB\n"
}
V2: Files = {
    "proc/self/cgroup": "0::/\n",
    "sys/fs/cgroup/memory.max": f"{512 * MIB}\n",
    "sys/fs/cgroup/memory.current": f"{500 * MIB}\n",
    "sys/fs/cgroup/memory.stat": (
        f"anon {90 * MIB}\nfile {410 * MIB}\ninactive_file {300 * MIB}\nslab_reclaimable {80 * MIB}\n"
    ),
}
V1: Files = {
    "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/kubepods/pod1/c1\n0::/\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{512 * MIB}\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{500 * MIB}\n",
    "sys/fs/cgroup/memory/memory.stat": (
        f"cache {400 * MIB}\ninactive_file 0\ntotal_inactive_file {300 * MIB}\n"
    ),
}


@pytest.fixture
def read(tmp_path: Path) -> Callable[[Files], MemoryUse | None]:
    """Reads a machine that has these files."""

    def read(files: Files) -> MemoryUse | None:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return MemoryMeter(tmp_path).read()

    return read


Read = Callable[[Files], MemoryUse | None]


def test_of_cgroup_v2_what_the_kernel_would_give_up_is_no_use(read: Read) -> None:
    use = read(MACHINE | V2)
    assert use == MemoryUse(120 * MIB, 512 * MIB, "cgroup")
    assert use.percent == pytest.approx(100 * 120 / 512)


def test_of_cgroup_v1_what_the_kernel_would_give_up_is_no_use(read: Read) -> None:
    assert read(MACHINE | V1) == MemoryUse(200 * MIB, 512 * MIB, "cgroup")


@pytest.mark.parametrize(
    "files",
    [
        V2 | {"sys/fs/cgroup/memory.max": "max\n"},
        V1 | {"sys/fs/cgroup/memory/memory.limit_in_bytes": f"{NO_LIMIT_V1}\n"},
        V2 | {"sys/fs/cgroup/memory.max": f"{64 * 1024 * MIB}\n"},
        {},
    ],
    ids=["v2 max", "v1 near 2^63", "more than the machine has", "no cgroups"],
)
def test_without_a_limit_the_machine_counts(read: Read, files: Files) -> None:
    assert read(MACHINE | files) == MemoryUse(6144 * MIB, 8192 * MIB, "node")


def test_a_limit_on_a_cgroup_above_counts_when_it_is_nearer(read: Read) -> None:
    files = {
        "proc/self/cgroup": "0::/pod/container\n",
        "sys/fs/cgroup/pod/container/memory.max": "max\n",
        "sys/fs/cgroup/pod/container/memory.current": f"{90 * MIB}\n",
        "sys/fs/cgroup/pod/memory.max": f"{100 * MIB}\n",
        "sys/fs/cgroup/pod/memory.current": f"{95 * MIB}\n",
    }
    assert read(MACHINE | files) == MemoryUse(95 * MIB, 100 * MIB, "cgroup")


def test_nothing_that_can_be_read_is_no_answer(read: Read) -> None:
    assert read({}) is None


@pytest.mark.parametrize(
    "files",
    [
        V2 | {"sys/fs/cgroup/memory.current": ""},
        V2 | {"sys/fs/cgroup/memory.max": "0\n"},
        V2 | {"proc/self/cgroup": "nonsense\n", "sys/fs/cgroup/memory.max": "-5\n"},
    ],
)
def test_accounts_that_make_no_sense_are_passed_over(read: Read, files: Files) -> None:
    use = read(MACHINE | files)
    assert use is not None
    assert use.source == "node"


def test_this_machine_can_be_read() -> None:
    use = MemoryMeter().read()
    assert use is not None
    assert 0 < use.percent <= 100
