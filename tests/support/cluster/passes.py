"""Runs the reconciler over jobs on the in-memory cluster.

Tests of an order of events call each reconcile pass explicitly. Tests of the outcome run
workers, watches and a kubelet as in a process.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.kubelet import Kubelet
from tests.support.cluster.leaping import LoopClock
from tests.support.cluster.operator_life import OperatorLife
from trainingjob_api.errors import (
    UnavailableError,
)
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.jobs.status_throttle import PROGRESS_EVERY_S

KEY = JobKey("ml", "mnist")
OUTAGE = UnavailableError("etcdserver: leader changed", status=503)
Object = dict[str, Any]


def new_cluster() -> FakeCluster:
    return FakeCluster(LoopClock())


async def by_hand(cluster: FakeCluster, **settings: Any) -> OperatorLife:
    """Yield an operator that watches, but reconciles only when the test calls `make_pass`."""
    life = OperatorLife(cluster, **settings)
    cluster.connect(life.watch_events)
    await echo()
    return life


async def echo() -> None:
    """Let the watches deliver all events so far."""
    await asyncio.sleep(0.001)


async def settle(life: OperatorLife, key: JobKey = KEY) -> None:
    """Reconcile repeatedly, with watch events delivered in between, until nothing is left to do at once."""
    await echo()
    while await make_pass(life, key) == 0:
        await echo()
    await echo()


async def make_pass(life: OperatorLife, key: JobKey = KEY) -> float | None:
    """Reconcile a job once; other queued keys are not waited for."""
    while life.queue.depth:
        life.queue.done(await life.queue.get())
    return await life.reconciler.reconcile(key)


@asynccontextmanager
async def operated(
    cluster: FakeCluster,
    script: Callable[[int, int], int | None] = lambda attempt, rank: 0,
    **settings: Any,
) -> AsyncIterator[OperatorLife]:
    """Run an operator and a kubelet."""
    async with OperatorLife(cluster, **settings) as life:
        kubelet = asyncio.create_task(Kubelet(cluster, script).run())
        try:
            yield life
        finally:
            kubelet.cancel()
            with suppress(asyncio.CancelledError):
                await kubelet


async def running(cluster: FakeCluster, nodes: int = 2, **spec: Any) -> OperatorLife:
    """Yield a job whose ranks all run, and an operator as of `by_hand`."""
    life = await by_hand(cluster)
    cluster.create_job(make_job(nodes=nodes, **spec))
    await settle(life)
    for pod in cluster.pods():
        cluster.run_pod(pod)
    await asyncio.sleep(PROGRESS_EVERY_S)
    await settle(life)
    return life


def methods(cluster: FakeCluster) -> list[str]:
    return [call.method for call in cluster.calls]


def conditions(cluster: FakeCluster, name: str = "mnist") -> dict[str, tuple[str, str]]:
    found = cluster.status(name).get("conditions", [])
    return {c["type"]: (c["status"], c["reason"]) for c in found}


def names(pods: list[Object]) -> list[str]:
    return sorted(pod["metadata"]["name"] for pod in pods)
