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
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import LoopClock
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


async def manual_operator(cluster: FakeCluster, **settings: Any) -> SimulatedOperator:
    """Yield an operator that watches, but reconciles only when the test calls `reconcile_once`."""
    life = SimulatedOperator(cluster, **settings)
    cluster.connect(life.watch_events)
    await deliver_watch_events()
    return life


async def deliver_watch_events() -> None:
    """Let the watches deliver all events so far."""
    await asyncio.sleep(0.001)


async def reconcile_until_settled(life: SimulatedOperator, key: JobKey = KEY) -> None:
    """Reconcile repeatedly, with watch events delivered in between, until nothing is left to do at once."""
    await deliver_watch_events()
    while await reconcile_once(life, key) == 0:
        await deliver_watch_events()
    await deliver_watch_events()


async def reconcile_once(life: SimulatedOperator, key: JobKey = KEY) -> float | None:
    """Reconcile a job once; other queued keys are not waited for."""
    while life.queue.depth:
        life.queue.done(await life.queue.get())
    return await life.reconciler.reconcile(key)


@asynccontextmanager
async def running_operator(
    cluster: FakeCluster,
    script: Callable[[int, int], int | None] = lambda attempt, rank: 0,
    **settings: Any,
) -> AsyncIterator[SimulatedOperator]:
    """Run an operator and a kubelet."""
    async with SimulatedOperator(cluster, **settings) as life:
        kubelet = asyncio.create_task(Kubelet(cluster, script).run())
        try:
            yield life
        finally:
            kubelet.cancel()
            with suppress(asyncio.CancelledError):
                await kubelet


async def operator_with_running_job(
    cluster: FakeCluster, nodes: int = 2, **spec: Any
) -> SimulatedOperator:
    """Yield a job whose ranks all run, and an operator as of `manual_operator`."""
    life = await manual_operator(cluster)
    cluster.create_job(make_job(nodes=nodes, **spec))
    await reconcile_until_settled(life)
    for pod in cluster.pods():
        cluster.run_pod(pod)
    await asyncio.sleep(PROGRESS_EVERY_S)
    await reconcile_until_settled(life)
    return life


def called_methods(cluster: FakeCluster) -> list[str]:
    return [call.method for call in cluster.calls]


def conditions(cluster: FakeCluster, name: str = "mnist") -> dict[str, tuple[str, str]]:
    found = cluster.status(name).get("conditions", [])
    return {c["type"]: (c["status"], c["reason"]) for c in found}


def pod_names(pods: list[Object]) -> list[str]:
    return sorted(pod["metadata"]["name"] for pod in pods)
