"""The observer: a process that records the arrival time of changes, in the same way for all contestants.

    python -m hack.bench.observer ACCESS PATH...

It watches pods, and jobs at each PATH, and prints a line of JSON for each step that matters, with
the monotonic time at which the change arrived. All latencies come from here: timestamps of the contestants
are not used, and `finishedAt` has whole seconds only.
"""

import asyncio
import contextlib
import json
import sys
from typing import Final, NamedTuple

import aiohttp

from hack.bench.access import PODS, Access, Change, Object, changes
from hack.bench.manifests import job_of

READY: Final = "ready"
_TERMINAL: Final = {"Complete", "Completed", "Failed", "Cancelled"}
"""Condition types of success: `Completed` for a JobSet, `Complete` for all others."""


class Sighting(NamedTuple):
    """A step in the life of a pod or a job.

    Attributes:
        at: seconds of the machine's monotonic clock.
        kind: `pod` or `job`.
        namespace, name, uid: of the object.
        owner: the name of the job that the pod belongs to; empty for a job.
        step: `seen`; for a pod then its phases; for a job then the name of a terminal condition.
    """

    at: float
    kind: str
    namespace: str
    name: str
    uid: str
    owner: str
    step: str


class Notebook:
    """Reports each step of each object once."""

    def __init__(self) -> None:
        self._reported: Final[set[tuple[str, str]]] = set()

    def sightings(self, kind: str, change: Change) -> list[Sighting]:
        """Return the steps that this change shows for the first time."""
        metadata = change.object["metadata"]
        step = pod_step(change.object) if kind == "pod" else job_step(change.object)
        found = []
        for each in ("seen", step):
            if each and (metadata["uid"], each) not in self._reported:
                self._reported.add((metadata["uid"], each))
                found.append(
                    Sighting(
                        change.at,
                        kind,
                        metadata["namespace"],
                        metadata["name"],
                        metadata["uid"],
                        job_of(change.object) if kind == "pod" else "",
                        each,
                    )
                )
        return found


def pod_step(pod: Object) -> str:
    """Return the phase of a pod, from Running on."""
    phase = str(pod["status"].get("phase"))
    return "" if phase == "Pending" else phase


def job_step(job: Object) -> str:
    """Return the terminal condition that is true, for a job of any kind."""
    conditions = job.get("status", {}).get("conditions") or []
    for each in conditions:
        if each["type"] in _TERMINAL and each["status"] == "True":
            return str(each["type"])
    return ""


async def observe(access: Access, paths: list[str]) -> None:
    """Watch and print, until cancelled."""
    notebook = Notebook()
    async with access.session(connections=len(paths) + 1) as session, asyncio.TaskGroup() as tasks:
        ready = []
        for kind, path in [("pod", PODS), *(("job", path) for path in paths)]:
            ready.append(asyncio.Event())
            tasks.create_task(_follow(session, notebook, kind, path, ready[-1]))
        for each in ready:
            await each.wait()
        _print(READY)


async def _follow(
    session: aiohttp.ClientSession,
    notebook: Notebook,
    kind: str,
    path: str,
    listed: asyncio.Event,
) -> None:
    async for change in changes(session, path, listed=listed):
        for sighting in notebook.sightings(kind, change):
            _print(sighting)


def _print(what: Sighting | str) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(observe(Access.loads(sys.argv[1]), sys.argv[2:]))
