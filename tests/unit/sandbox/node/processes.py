"""Finds processes of the sandbox by what is in their environment, and waits for conditions."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path


def processes_mentioning(text: str) -> list[int]:
    """Pids of living processes, not this one, whose environment or command line holds the text.

    An environment is inherited across forks and sessions, so daemons are found too.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            # A zombie has neither left.
            about = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        if text.encode() in about:
            found.append(int(entry.name))
    return found


async def eventually(condition: Callable[[], object], *, within_s: float = 10.0) -> None:
    """Wait until the condition holds; fail if it does not in time."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not within {within_s} s"
        await asyncio.sleep(0.02)
