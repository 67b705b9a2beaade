"""Processes, as `/proc` shows them."""

import os
from pathlib import Path


def children(parent: int | None = None) -> list[int]:
    """Those of a process (ours, unless told) that are there, dead or alive.

    The kernel lists them by the thread that started them and gives those of a thread that ends to
    another one. When a thread ends during the look, the whole look is taken again: its children
    may by now belong to a thread that was already read.
    """
    tasks = Path(f"/proc/{parent or os.getpid()}/task")
    while True:
        try:
            lists = [(each / "children").read_text() for each in tasks.iterdir()]
        except (FileNotFoundError, ProcessLookupError):
            if not tasks.exists():
                raise
            continue
        return [int(pid) for listed in lists for pid in listed.split()]


def state(pid: int) -> str:
    """A process's state, as of `/proc/<pid>/stat` ("Z": ended, not waited for); "": there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
