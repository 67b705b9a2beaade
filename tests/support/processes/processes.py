"""Reads processes from `/proc`, and waits for conditions.

Any process may end while it is being read.
"""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.support.processes.process_start import fork_server_pids

SHARED: Final[set[int]] = set()
"""Servers that one process of the tests shares, as long as they run."""


def children(parent: int | None = None) -> list[int]:
    """Return the children of a process (by default this one), zombies included.

    Without those of this process that are shared with later tests: the fork servers, and the ones in `SHARED`.

    The kernel lists them by the thread that started them and gives those of a thread that ends to
    another one. When a thread ends during the look, the whole look is taken again: its children
    may by now belong to a thread that was already read.

    Raises:
        OSError: the process itself has ended.
    """
    tasks = Path(f"/proc/{parent or os.getpid()}/task")
    while True:
        try:
            lists = [(each / "children").read_text() for each in tasks.iterdir()]
        except (FileNotFoundError, ProcessLookupError):
            if not tasks.exists():
                raise
            continue
        found = [int(pid) for listed in lists for pid in listed.split()]
        return (
            found
            if parent
            else [pid for pid in found if pid not in {*fork_server_pids(), *SHARED}]
        )


def state(pid: int) -> str:
    """Return a process's state as of `/proc/<pid>/stat` ("Z": zombie); "": no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def command_line(pid: int) -> str:
    """Return a process's program and arguments, separated by spaces; "": it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def processes_mentioning(text: str) -> list[int]:
    """Return PIDs of running processes, except this one, whose environment or command line contains the text.

    An environment is inherited across forks and sessions, so daemons are found too.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            # A zombie has neither.
            about = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        if text.encode() in about:
            found.append(int(entry.name))
    return found


async def eventually(condition: Callable[[], object], *, within_s: float = 60.0) -> None:
    """Wait until the condition is true; fail after the timeout."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not within {within_s} s"
        await asyncio.sleep(0.02)
