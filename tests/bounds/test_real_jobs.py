"""Real jobs whose ranks are real processes, one after the other and ten at a time."""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.builders import make_job
from tests.support.processes.operator import OperatorProcess
from tests.support.processes.process_node import ProcessNode
from tests.support.processes.processes import children
from trainingjob_sandbox.client import ApiClient

JOBS = "/apis/trainingjob.dev/v1alpha1/namespaces/default/trainingjobs"
MANY = int(os.environ.get("TRAININGJOB_SOAK_REAL_JOBS", "100"))
AT_ONCE = 10
PATIENCE_S = 60.0
EMPTY_AT_LAST = [
    f'trainingjob_operator_bounded_used{{structure="{structure}"}}'
    for structure in ("index", "work_queue")
]

pytestmark = [
    pytest.mark.long,
    pytest.mark.anew,
    pytest.mark.skipif(
        sys.platform != "linux", reason="pods as processes are for Linux: no namespaces here"
    ),
]


@pytest.fixture
def operator(process_node: ProcessNode, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator of this test's own: its memory is what is looked at."""
    process = OperatorProcess(process_node.operator_kubeconfig, tmp_path / "operator.log")
    with process:
        process.wait_until_ready()
        yield process
        assert process.is_running, process.log()


async def run_job(client: ApiClient, name: str) -> str:
    """Apply a job, wait for its end, and delete it; its phase."""
    await client.create(JOBS, make_job(name, namespace="default", command=["true"]))
    deadline = time.monotonic() + PATIENCE_S
    while True:
        job = await client.get(f"{JOBS}/{name}")
        phase = str(job.get("status", {}).get("phase"))
        if phase in {"Succeeded", "Failed", "Cancelled"}:
            await client.delete(f"{JOBS}/{name}")
            return phase
        assert time.monotonic() < deadline, job
        await asyncio.sleep(0.05)


def kept(operator: OperatorProcess) -> dict[str, float]:
    """Return the values of the operator's metrics, by name."""
    lines = operator.probe("/metrics")[1].splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


async def test_a_hundred_real_jobs_leak_nothing(
    operator: OperatorProcess, process_node: ProcessNode
) -> None:
    async with ApiClient.from_kubeconfig(process_node.kubeconfig) as client:
        # The first ones bring code and connections into memory.
        phases = [await run_job(client, f"warm-{number}") for number in range(AT_ONCE)]
        before = kept(operator)
        phases += [await run_job(client, f"single-{number}") for number in range(MANY // 2)]
        between = kept(operator)
        for number in range(0, MANY - MANY // 2, AT_ONCE):
            names = [f"many-{number + each}" for each in range(AT_ONCE)]
            phases += await asyncio.gather(*(run_job(client, name) for name in names))
        async with asyncio.timeout(PATIENCE_S):
            while any((after := kept(operator))[structure] for structure in EMPTY_AT_LAST):
                await asyncio.sleep(0.1)
    looks = {"before": before, "between": between, "after": after}
    rss = {when: look["process_resident_memory_bytes"] / 2**20 for when, look in looks.items()}
    files = {when: look["process_open_fds"] for when, look in looks.items()}
    print(f"\n{len(phases)} real jobs: RSS in MiB {rss}, open files {files}")  # noqa: T201 - with `pytest -s`
    assert set(phases) == {"Succeeded"}
    assert after["process_open_fds"] <= before["process_open_fds"] + AT_ONCE, "connections at most"
    assert rss["after"] - rss["before"] < 8
    assert children(operator.process.pid) == []
