"""Defines and submits workloads: number of jobs and ranks, rate, and run time of the pods."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

import aiohttp

from hack.bench.access import Object
from hack.bench.manifests import Kind, collection, manifest, prerequisites

_AT_ONCE: Final = 16


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A workload of identical jobs.

    Attributes:
        name: for the report, and for the namespace.
        jobs: their number.
        ranks: pods of each job.
        rate: jobs per second; 0: all at once.
        run_ms: run time of a pod in milliseconds.
        patience_s: seconds without a job's end after which the remaining jobs count as lost.
    """

    name: str
    jobs: int
    ranks: int = 1
    rate: float = 0.0
    run_ms: int
    patience_s: float = 30.0


async def prepare(
    session: aiohttp.ClientSession, kind: Kind, namespace: str, workload: Workload
) -> None:
    """Create the objects that the jobs refer to."""
    for path, body in prerequisites(kind, namespace, run_ms=workload.run_ms):
        await _create(session, path, body)


async def submit(
    session: aiohttp.ClientSession, kind: Kind, namespace: str, workload: Workload
) -> float:
    """Create the jobs; return the start time in seconds of the monotonic clock.

    A stream keeps its rate whatever the server does, because waiting for slow responses would hide
    them.
    """
    gate = asyncio.Semaphore(_AT_ONCE)
    begun = time.monotonic()
    path = collection(kind, namespace)

    async def one(number: int) -> None:
        if workload.rate:
            await asyncio.sleep(begun + number / workload.rate - time.monotonic())
        async with gate:
            name = f"job-{number}"
            body = manifest(kind, name, ranks=workload.ranks, run_ms=workload.run_ms)
            await _create(session, path, body)

    async with asyncio.TaskGroup() as tasks:
        for number in range(workload.jobs):
            tasks.create_task(one(number))
    return begun


async def _create(session: aiohttp.ClientSession, path: str, body: Object) -> None:
    async with session.post(path, json=body) as answer:
        text = await answer.text()
        if not answer.ok:
            raise RuntimeError(f"{path}: {answer.status} {text[:500]}")
