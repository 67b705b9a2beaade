"""What `long`, `serial` and `anew` mean: who is left out of a quick run, runs alone, forks nothing."""

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
    "long: a long proof, or another case of what a quick run shows already; `make test-all` runs it",
    "serial: measures this machine, so nothing else of the tests runs at the same time",
    "anew: measures a process or its start, so each is a new interpreter, and no fork",
)


def quick(
    values: Iterable[object], *, in_quick: Collection[object]
) -> list[object | ParameterSet]:
    """Return all the values to parametrise a test with; only these are part of a quick run."""
    return [
        value if value in in_quick else pytest.param(value, marks=pytest.mark.long)
        for value in values
    ]


@dataclass(frozen=True)
class Turn:
    """The turn of one test, among those of the processes of this run; None: there is one process."""

    room: IO[str] | None = None

    def share(self) -> None:
        """Let the others go on: what this test had to be alone for is measured."""
        if self.room is not None:
            fcntl.flock(self.room, fcntl.LOCK_SH)


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[Turn]:
    """Run one test: beside those of the other processes of this run, or alone.

    Who waits to be alone holds the door, so that the others cannot pass it for ever.

    Args:
        folder: one that these processes share.
        alone: none of the others runs a test at the same time.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield Turn()
        return
    with (folder / "door.lock").open("w") as door, (folder / "room.lock").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield Turn(room)
