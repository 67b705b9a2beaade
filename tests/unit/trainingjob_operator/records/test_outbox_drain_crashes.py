"""The process dies at any call while the records of an outage are sent, and none is lost."""

import asyncio
from contextlib import suppress

import pytest

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.kubelet import Kubelet
from tests.support.cluster.objects import Crash, When
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import LoopClock, SimulatedTimeLoop
from tests.support.markers import quick
from tests.support.records.endpoint import FakeEndpoint
from trainingjob_api.errors import EndpointUnavailableError

JOBS = 12
PARTS = 5
"""Each fifth call is a test of its own: a quick run has the first."""


def drained(crash: tuple[int, When] | None = None) -> tuple[FakeCluster, FakeEndpoint, int]:
    """Let jobs end in an outage, and die at a call after it; the calls that it took in the end."""
    with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
        return runner.run(_drained(crash))


async def _drained(crash: tuple[int, When] | None) -> tuple[FakeCluster, FakeEndpoint, int]:
    cluster = FakeCluster(LoopClock())
    endpoint = FakeEndpoint(cluster)
    endpoint.down = EndpointUnavailableError("cannot be reached")
    async with SimulatedOperator(cluster, endpoint=endpoint):
        kubelet = asyncio.create_task(Kubelet(cluster).run())
        for number in range(JOBS):
            cluster.create_job(make_job(f"job-{number:02}"))
        await asyncio.sleep(30)
        kubelet.cancel()
        await asyncio.wait([kubelet])
    endpoint.down = None
    before = len(cluster.calls)
    if crash is not None:
        number, when = crash
        cluster.crash_at(before + number, when)
    with suppress(Crash):
        async with SimulatedOperator(cluster, endpoint=endpoint):
            for _ in range(120):
                if not cluster.has_crashed:
                    await asyncio.sleep(0.25)
    calls = len(cluster.calls) - before
    if crash is not None:
        cluster.revive()
        async with SimulatedOperator(cluster, endpoint=endpoint):
            await asyncio.sleep(30)
    return cluster, endpoint, calls


def violations(cluster: FakeCluster, endpoint: FakeEndpoint) -> list[str]:
    """What is wrong in the end; nothing, if all is well."""
    jobs = cluster.jobs()
    stored = [job for job in jobs if job["status"]["recordState"] == "Stored"]
    held = [job for job in jobs if job["metadata"].get("finalizers")]
    claims = {
        "every record has its row": len(endpoint.rows) == JOBS,
        "every job says so": len(stored) == JOBS,
        "and is let go": not held,
        "what was sent again was the same": len(endpoint.taken) == len(endpoint.writes),
        "and no second revision": all(row["revision"] == 1 for row in endpoint.rows.values()),
    }
    return [claim for claim, holds in claims.items() if not holds]


@pytest.mark.parametrize("part", quick(range(PARTS), in_quick=[0]))
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_any_call_while_records_go_out_loses_nothing(when: When, part: int) -> None:
    undisturbed = drained()
    assert violations(*undisturbed[:2]) == []
    wrong = {
        number: found
        for number in range(part, undisturbed[2], PARTS)
        if (found := violations(*drained((number, when))[:2]))
    }
    assert wrong == {}
