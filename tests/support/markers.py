"""Implements the markers `long` (not in a quick run), `serial` (runs alone) and `anew` (no fork server)."""

import fcntl
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest
from _pytest.mark import ParameterSet

MARKERS = (
    "long: takes long, or varies a case that a quick run covers; only `make test-all` runs it",
    "serial: measures this machine, so no other test runs at the same time",
    "anew: measures a process or its start, so each process is a new interpreter, not a fork",
)


def quick(
    values: Iterable[object], *, in_quick: Collection[object]
) -> list[object | ParameterSet]:
    """Return all values for a parametrised test, those outside `in_quick` marked as `long`."""
    return [
        value if value in in_quick else pytest.param(value, marks=pytest.mark.long)
        for value in values
    ]


@dataclass(frozen=True)
class WorkerLock:
    """The lock that a test holds among the worker processes of this run; None: there is one process."""

    lock_file: IO[str] | None = None

    def downgrade(self) -> None:
        """Downgrade to the shared lock: the part that had to run alone is done."""
        if self.lock_file is not None:
            fcntl.flock(self.lock_file, fcntl.LOCK_SH)


@contextmanager
def worker_lock(folder: Path, *, alone: bool) -> Iterator[WorkerLock]:
    """Hold the shared or exclusive lock for one test, among the worker processes of this run.

    A test that waits for the exclusive lock blocks new shared ones, so that it cannot starve.

    Args:
        folder: folder that these processes share.
        alone: exclusive: no other process runs a test at the same time.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield WorkerLock()
        return
    with (folder / "door.lock").open("w") as door, (folder / "room.lock").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield WorkerLock(room)
