"""Starts the observer process, and collects its observations by namespace."""

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from hack.bench.access import Access
from hack.bench.contestants import Contestant
from hack.bench.manifests import collection
from hack.bench.observer import READY, Sighting

LONG_RUN_S: Final = 0.9
"""A pod that runs this long may be reported as Running, which costs another write."""

_END_OF_POD: Final = {"Succeeded", "Failed"}
_POLL_S: Final = 0.05


class Sightings:
    """The observations in one namespace.

    Attributes:
        pods: uids of the pods of each job, by the job's name.
        ended: when the job's pod was seen to end, by the job's name; the last one counts.
        terminal: when the job was seen to finish, and with which condition, by its name.
        last_pod: when the last pod was first seen.
        long_runs: pods that were seen for `LONG_RUN_S` before they ended.
    """

    def __init__(self) -> None:
        self.pods: Final[defaultdict[str, set[str]]] = defaultdict(set)
        self.ended: Final[dict[str, float]] = {}
        self.terminal: Final[dict[str, tuple[float, str]]] = {}
        self.last_pod = 0.0
        self.long_runs = 0
        self._seen: Final[dict[str, float]] = {}

    def take(self, seen: Sighting, *, pods_are_jobs: bool) -> None:
        """Add one observation."""
        if seen.kind == "job":
            if seen.step != "seen":
                self.terminal[seen.name] = (seen.at, seen.step)
            return
        job = seen.name if pods_are_jobs else seen.owner
        if seen.step == "seen":
            self.pods[job].add(seen.uid)
            self._seen[seen.uid] = self.last_pod = seen.at
        elif seen.step in _END_OF_POD:
            self.ended[job] = seen.at
            self.long_runs += seen.at - self._seen[seen.uid] > LONG_RUN_S
            if pods_are_jobs:
                self.terminal[job] = (seen.at, seen.step)


class Lookout:
    """Reads the output of the observer, the process `pid`."""

    def __init__(self, contestant: Contestant, pid: int, lines: asyncio.StreamReader) -> None:
        self.pid: Final = pid
        self._pods_are_jobs: Final = contestant.kind == "Pod"
        self._lines: Final = lines
        self._seen: Final[defaultdict[str, Sightings]] = defaultdict(Sightings)
        self._over = False

    def of(self, namespace: str) -> Sightings:
        """Return the observations in a namespace; the object is updated while the observer runs."""
        return self._seen[namespace]

    async def wait_for(self, namespace: str, jobs: int, *, patience_s: float) -> bool:
        """Wait until this many jobs have finished; return False if none has for `patience_s` seconds."""
        seen, loop = self.of(namespace), asyncio.get_running_loop()
        so_far, since = -1, loop.time()
        while len(seen.terminal) < jobs:
            if self._over:
                raise RuntimeError("the observer has ended; nothing can be concluded")
            if len(seen.terminal) > so_far:
                so_far, since = len(seen.terminal), loop.time()
            if loop.time() - since > patience_s:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    async def read(self) -> None:
        """Read until the observer ends."""
        try:
            async for line in self._lines:
                seen = Sighting(*json.loads(line))
                self._seen[seen.namespace].take(seen, pods_are_jobs=self._pods_are_jobs)
        finally:
            self._over = True


@asynccontextmanager
async def lookout(access: Access, contestant: Contestant) -> AsyncIterator[Lookout]:
    """Run an observer."""
    kind = contestant.kind
    paths = [] if kind == "Pod" else [collection(kind)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hack.bench.observer", access.dumps(), *paths),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        first = await process.stdout.readline()
        if not first or json.loads(first) != READY:
            raise RuntimeError("the observer did not come up; its own words are above")
        found = Lookout(contestant, process.pid, process.stdout)
        reading = asyncio.create_task(found.read())
        try:
            yield found
        finally:
            reading.cancel()
    finally:
        process.kill()
        await process.wait()
