"""Creates a real cgroup with a memory limit, if the machine permits it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_ROOT = Path("/sys/fs/cgroup")


@contextmanager
def memory_cgroup(limit_bytes: int) -> Iterator[Path]:
    """Create a cgroup; a process joins it by writing its PID into `cgroup.procs` there.

    Skips the test with the reason if none can be created.
    """
    is_second = (_ROOT / "cgroup.controllers").exists()
    parent = _ROOT if is_second else _ROOT / "memory"
    folder = parent / f"trainingjob-test-{os.getpid()}"
    limit = folder / ("memory.max" if is_second else "memory.limit_in_bytes")
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        try:
            limit.write_text(str(limit_bytes))
        except OSError as error:
            pytest.skip(f"no memory limit can be set on a cgroup here: {error}")
        yield folder
    finally:
        folder.rmdir()
