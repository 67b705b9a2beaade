"""The completer: a process that simulates all nodes, as fast as the API server allows.

    python -m hack.bench.completer ACCESS

It sets every pod of the benchmark to Running as soon as it exists, and to Succeeded after the time in its
annotation. There is no scheduler, so a pod's life costs only two writes.
"""

import asyncio
import contextlib
import sys
from typing import Any, Final

import aiohttp

from hack.bench.access import PODS, Access, Object, changes
from hack.bench.manifests import ran_for

_AT_ONCE: Final = 32
_NOW: Final = "2026-01-01T00:00:00Z"  # these values are not measured
_PATCH: Final = {"Content-Type": "application/merge-patch+json"}


async def complete(access: Access) -> None:
    """Complete pods, until cancelled."""
    async with access.session(connections=_AT_ONCE + 1) as session, asyncio.TaskGroup() as lives:
        known: set[str] = set()
        async for change in changes(session, PODS):
            pod, uid = change.object, change.object["metadata"]["uid"]
            if uid not in known and ran_for(pod) is not None:
                known.add(uid)
                lives.create_task(_live(session, pod))


async def _live(session: aiohttp.ClientSession, pod: Object) -> None:
    await _write(session, pod, _status(pod, "Running", {"running": {"startedAt": _NOW}}))
    await asyncio.sleep(ran_for(pod) or 0.0)
    over = {"exitCode": 0, "reason": "Completed", "startedAt": _NOW, "finishedAt": _NOW}
    await _write(session, pod, _status(pod, "Succeeded", {"terminated": over}))


async def _write(session: aiohttp.ClientSession, pod: Object, status: Object) -> None:
    metadata = pod["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
    async with session.patch(path, json={"status": status}, headers=_PATCH) as answer:
        await answer.read()
        if answer.status != 404:  # noqa: PLR2004 - deleted under our hands: nothing to complete
            answer.raise_for_status()


def _status(pod: Object, phase: str, state: dict[str, Any]) -> Object:
    ready = phase == "Running"
    containers = [
        {
            "name": each["name"],
            "image": each["image"],
            "imageID": "",
            "ready": ready,
            "started": ready,
            "restartCount": 0,
            "state": state,
        }
        for each in pod["spec"]["containers"]
    ]
    conditions = [
        {"type": kind, "status": str(ready), "lastTransitionTime": _NOW}
        for kind in ("Ready", "ContainersReady")
    ]
    return {
        "phase": phase,
        "startTime": _NOW,
        "conditions": conditions,
        "containerStatuses": containers,
    }


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(complete(Access.loads(sys.argv[1])))
