"""Passes of the reconciler over jobs on a cluster in memory.

Where the order of things matters, passes are made one by one by hand; where only the outcome does,
workers, watches and a kubelet run as they do in a process.
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
    """An operator that watches, and makes a pass only when it is told to."""
    life = OperatorLife(cluster, **settings)
    cluster.connect(life.watch_events)
    await echo()
    return life


async def echo() -> None:
    """Let the watches deliver what has happened so far."""
    await asyncio.sleep(0.001)


async def settle(life: OperatorLife, key: JobKey = KEY) -> None:
    """Make passes, with the watches' news in between, until one has nothing more to do at once."""
    await echo()
    while await make_pass(life, key) == 0:
        await echo()
    await echo()


async def make_pass(life: OperatorLife, key: JobKey = KEY) -> float | None:
    """Make one pass over a job; what else is on the queue is not waited for."""
    while life.queue.depth:
        life.queue.done(await life.queue.get())
    return await life.reconciler.reconcile(key)


@asynccontextmanager
async def operated(
    cluster: FakeCluster,
    script: Callable[[int, int], int | None] = lambda attempt, rank: 0,
    **settings: Any,
) -> AsyncIterator[OperatorLife]:
    """An operator and a kubelet at work."""
    async with OperatorLife(cluster, **settings) as life:
        kubelet = asyncio.create_task(Kubelet(cluster, script).run())
        try:
            yield life
        finally:
            kubelet.cancel()
            with suppress(asyncio.CancelledError):
                await kubelet


async def running(cluster: FakeCluster, nodes: int = 2, **spec: Any) -> OperatorLife:
    """A job all of whose ranks run, and an operator by hand."""
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
