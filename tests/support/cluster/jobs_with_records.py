"""Runs jobs with records on the in-memory cluster: an operator, a kubelet and a fake endpoint."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.kubelet import Kubelet
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import LoopClock
from tests.support.records.endpoint import FakeEndpoint
from trainingjob_api.errors import (
    EndpointUnavailableError,
)

Object = dict[str, Any]
DOWN = EndpointUnavailableError("cannot be reached")
DAY_S = 86_400.0


def new_cluster_and_endpoint() -> tuple[FakeCluster, FakeEndpoint]:
    cluster = FakeCluster(LoopClock())
    return cluster, FakeEndpoint(cluster)


@asynccontextmanager
async def running_operator(
    cluster: FakeCluster,
    endpoint: FakeEndpoint | None,
    *,
    exit_code: int | None = 0,
    run_s: float = 2.0,
    **settings: Any,
) -> AsyncIterator[SimulatedOperator]:
    """Run an operator with a record endpoint, and a kubelet that runs every pod for two seconds."""
    async with SimulatedOperator(cluster, endpoint=endpoint, **settings) as life:
        kubelet = asyncio.create_task(
            Kubelet(cluster, lambda attempt, rank: exit_code, run_s=run_s).run()
        )
        try:
            yield life
        finally:
            kubelet.cancel()
            await asyncio.wait([kubelet])


async def run_pods_at_once(cluster: FakeCluster) -> None:
    """Create a job whose pod runs and completes as soon as it exists."""
    cluster.create_job(make_job())
    await asyncio.sleep(0.1)
    cluster.run_pod(cluster.pod())
    cluster.finish_pod(cluster.pod())
    await asyncio.sleep(100)


def persisted(cluster: FakeCluster, name: str = "mnist") -> tuple[str, str]:
    found = [c for c in cluster.status(name)["conditions"] if c["type"] == "Persisted"]
    return found[0]["status"], found[0]["reason"]


def finalizers(cluster: FakeCluster, name: str = "mnist") -> list[str]:
    found: list[str] = cluster.job(name)["metadata"].get("finalizers", [])
    return found


def is_gone(cluster: FakeCluster, name: str = "mnist") -> bool:
    return all(job["metadata"]["name"] != name for job in cluster.jobs())
