"""What is submitted: how many one-pod jobs, how fast, how long their pods run, and as which kind."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final, Literal

import aiohttp

from hack.bench.access import Object

RUN_FOR: Final = "bench.trainingjob.dev/run-for"
"""The pods' annotation with the milliseconds for which they run, as Go writes durations: `100ms`."""

_AT_ONCE: Final = 16

Kind = Literal["TrainingJob", "Job", "Pod"]
PATHS: Final[dict[Kind, str]] = {
    "TrainingJob": "/apis/trainingjob.dev/v1alpha1",
    "Job": "/apis/batch/v1",
    "Pod": "/api/v1",
}


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One-pod jobs.

    Attributes:
        name: for the report, and for the namespace.
        jobs: how many.
        rate: jobs per second; 0: all at once.
        run_ms: how long a pod runs, in milliseconds.
        patience_s: after so many seconds without a job's end, those that are left have lost.
    """

    name: str
    jobs: int
    rate: float = 0.0
    run_ms: int
    patience_s: float = 30.0


def manifest(kind: Kind, name: str, workload: Workload) -> Object:
    """A job of one pod; or its pod, where there is no controller."""
    group_version = PATHS[kind].removeprefix("/apis/").removeprefix("/api/")
    version = {"apiVersion": group_version, "kind": kind}
    annotations = {RUN_FOR: f"{workload.run_ms}ms"}
    containers = [{"name": "trainer", "image": "example/image:1", "command": ["train"]}]
    pod = {"restartPolicy": "Never", "containers": containers}
    if kind == "Pod":
        return version | {"metadata": {"name": name, "annotations": annotations}, "spec": pod}
    template = {"metadata": {"annotations": annotations}, "spec": pod}
    return version | {"metadata": {"name": name}, "spec": {"template": template}}


def ran_for(pod: Object) -> float | None:
    """For how many seconds a pod of the bench runs; None: it is not the bench's."""
    text = (pod["metadata"].get("annotations") or {}).get(RUN_FOR)
    return None if text is None else int(text.removesuffix("ms")) / 1000


async def submit(
    session: aiohttp.ClientSession, kind: Kind, namespace: str, workload: Workload
) -> float:
    """Create the jobs; when it began, in seconds of the monotonic clock.

    A stream keeps to its timetable whatever the server does: waiting for slow answers would hide
    them.
    """
    gate = asyncio.Semaphore(_AT_ONCE)
    begun = time.monotonic()
    path = f"{PATHS[kind]}/namespaces/{namespace}/{kind.lower()}s"

    async def one(number: int) -> None:
        if workload.rate:
            await asyncio.sleep(begun + number / workload.rate - time.monotonic())
        async with gate:
            body = manifest(kind, f"job-{number}", workload)
            async with session.post(path, json=body) as answer:
                await answer.read()
                answer.raise_for_status()

    async with asyncio.TaskGroup() as tasks:
        for number in range(workload.jobs):
            tasks.create_task(one(number))
    return begun
