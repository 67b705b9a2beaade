"""Soak test of the operator in simulated time: real components, an in-memory API server, many jobs.

    python -m tests.support.cluster.soak --jobs 3650 --days 365

It is a program of its own, so that memory, threads and files are those of this life alone. It
prints one JSON document: what was counted at each look, and what became of the jobs.
"""

import argparse
import asyncio
import gc
import json
import logging
import os
import sys
import threading
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.objects import Object
from tests.support.cluster.simulated_operator import OPERATOR_NAMESPACE, SimulatedOperator
from tests.support.cluster.simulated_time import LoopClock, SimulatedTimeLoop
from tests.support.processes.processes import children, state
from trainingjob_api.constants import LABEL_JOB_NAME
from trainingjob_api.errors import EndpointUnavailableError
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.jobs import index_expiry, memory_pressure
from trainingjob_operator.retention import clock_guard

HOUR_S: Final = 3600.0
DAY_S: Final = 24 * HOUR_S
ASIDE_S: Final = 97.0
"""The looks are so long after the hour, and never in the middle of a run of the housekeeping."""

TTL_S: Final = HOUR_S
"""The default of the settings: an hour after its end a job leaves memory and the cluster."""


def poll_rarely() -> None:
    """Lengthen the polling intervals: a year then has a million polls of clocks and memory, not ten million."""
    memory_pressure.EVERY_S = index_expiry.EVERY_S = 300.0  # type: ignore[misc]
    clock_guard.HEARTBEAT_S = 50.0  # type: ignore[misc]


class _Nothing(list[Any]):
    """A list that discards everything appended: a year of call records would itself be a leak."""

    def append(self, item: object) -> None:
        """Discard it."""


class BusyCluster(FakeCluster):
    """The in-memory API server without call records; its node terminates every pod after ten minutes.

    Every third job fails, for good.
    """

    RUN_S: Final = 600.0

    def __init__(self) -> None:
        super().__init__(LoopClock())
        self.calls = _Nothing()
        self.started = _Nothing()
        self.events = _Nothing()
        self.writes = 0
        self._pods_of: Final[defaultdict[str, set[JobKey]]] = defaultdict(set)

    async def create_pod(self, manifest: Object) -> Object:
        created = await super().create_pod(manifest)
        metadata = created["metadata"]
        key = JobKey(metadata["namespace"], metadata["name"])
        self._pods_of[metadata["ownerReferences"][0]["uid"]].add(key)
        asyncio.get_running_loop().call_later(1.0, self._run, key)
        return created

    def _run(self, key: JobKey) -> None:
        if (pod := self._objects["pods"].get(key)) is not None:
            self.run_pod(pod)
            asyncio.get_running_loop().call_later(self.RUN_S, self._end, key)

    def _end(self, key: JobKey) -> None:
        if (pod := self._objects["pods"].get(key)) is not None:
            self.finish_pod(pod, exit_code=int(_number(pod["metadata"]["labels"]) % 3 == 0))

    # The tests' own bookkeeping grows with the jobs; this must not.

    def _note(self, method: str, raw: Object, job: Object) -> None:
        self.writes += 1

    def _owner_of(self, raw: Object) -> Object:
        return {}

    def _remove_job(self, job: Object) -> None:
        self._remove("jobs", job)
        for key in self._pods_of.pop(job["metadata"]["uid"], ()):
            if (pod := self._objects["pods"].get(key)) is not None:
                self._delete_pod(pod, None)


class CountingEndpoint:
    """A record endpoint that knows of each job whether its record is stored, and nothing else."""

    def __init__(self, jobs: int) -> None:
        self.down = False
        self._stored: Final = bytearray(jobs)

    @property
    def stored(self) -> int:
        """Jobs whose records are stored."""
        return sum(self._stored)

    async def write(self, record: Object) -> None:
        await asyncio.sleep(0)
        if self.down:
            raise EndpointUnavailableError("cannot be reached")
        self._stored[int(record["name"].rpartition("-")[2])] = 1


@dataclass(frozen=True)
class Snapshot:
    """A sample of what the operator keeps in memory.

    Attributes:
        blocks: blocks of memory that Python has given out: what is kept, to the object.
        rss_kib: what the kernel says.
    """

    hour: float
    index: int
    waiting_line: int
    retry_cache: int
    deliveries: int
    queue: int
    manifest_bytes: int
    event_memory: int
    tasks: int
    threads: int
    files: int
    zombies: int
    blocks: int
    rss_kib: int


class Soak:
    """One soak run."""

    def __init__(
        self,
        *,
        jobs: int,
        days: float,
        look_every_s: float,
        interval_s: float,
        retry_cache_size: int,
    ) -> None:
        self._jobs: Final = jobs
        self._interval_s: Final = interval_s
        self._days: Final = days
        self._look_every_s: Final = look_every_s
        self._cluster: Final = BusyCluster()
        self._endpoint: Final = CountingEndpoint(jobs)
        self._life: Final = SimulatedOperator(
            self._cluster,
            max_jobs=20_000,
            interval_s=interval_s / 2,
            gc_interval_s=interval_s,
            endpoint=self._endpoint,
            retry_cache_size=retry_cache_size,
            ttl_s=TTL_S,
        )
        self.looks: Final[list[Snapshot]] = []
        self.evicted = 0

    async def run(self, *, outage: tuple[float, float] | None) -> None:
        """Run all jobs, and three idle hours afterwards.

        Args:
            outage: from which hour to which one the record endpoint is down.
        """
        async with self._life, asyncio.TaskGroup() as group:
            background = [
                group.create_task(self._keep_house()),
                group.create_task(self._look_again_and_again()),
            ]
            if outage is not None:
                background.append(group.create_task(self._fail(*outage)))
            await self._create_jobs()
            await asyncio.sleep(3 * HOUR_S + ASIDE_S)
            for task in background:
                task.cancel()
            self._look()

    async def _create_jobs(self) -> None:
        for number in range(self._jobs):
            self._cluster.create_job(make_job(f"job-{number}", backoff_limit=0))
            await asyncio.sleep(self._days * DAY_S / self._jobs)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self._life.housekeeper.tick(OPERATOR_NAMESPACE)

    async def _fail(self, from_hour: float, to_hour: float) -> None:
        await asyncio.sleep(from_hour * HOUR_S)
        self._endpoint.down = True
        await asyncio.sleep((to_hour - from_hour) * HOUR_S)
        self._endpoint.down = False

    async def _look_again_and_again(self) -> None:
        await asyncio.sleep(ASIDE_S)
        while True:
            await asyncio.sleep(self._look_every_s)
            self._look()

    def _look(self) -> None:
        gc.collect()
        life, delivery = self._life, self._life.delivery
        assert delivery is not None
        self.evicted = delivery.cache.evicted_total
        used = {bound.name: bound.used for bound in life.bounded}
        self.looks.append(
            Snapshot(
                hour=round(self._cluster.clock.monotonic() / HOUR_S, 1),
                index=used["index"],
                waiting_line=used["waiting_line"],
                retry_cache=used["retry_cache"],
                deliveries=used["outbox_deliveries"],
                queue=used["work_queue"],
                manifest_bytes=used["manifest_cache_bytes"],
                event_memory=used["event_memory"],
                tasks=len(asyncio.all_tasks()),
                threads=threading.active_count(),
                files=len(list(Path("/proc/self/fd").iterdir())),
                zombies=_zombies(),
                blocks=sys.getallocatedblocks(),
                rss_kib=_rss_kib(),
            )
        )

    def report(self) -> dict[str, Any]:
        """Return the samples, and the outcomes of the jobs."""
        return {
            "jobs": self._jobs,
            "days": self._days,
            "stored": self._endpoint.stored,
            "left_in_cluster": len(self._cluster.jobs()),
            "writes": self._cluster.writes,
            "evicted": self.evicted,
            "cpu_s": round(time.process_time(), 1),
            "looks": [asdict(look) for look in self.looks],
        }


def _number(labels: dict[str, str]) -> int:
    return int(labels[LABEL_JOB_NAME].rpartition("-")[2])


def _rss_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def _zombies() -> int:
    """Count the zombie children of this process."""
    return sum(state(child) == "Z" for child in children())


async def _live(arguments: argparse.Namespace) -> dict[str, Any]:
    soak = Soak(
        jobs=arguments.jobs,
        days=arguments.days,
        look_every_s=arguments.look_every_h * HOUR_S,
        interval_s=arguments.interval_s,
        retry_cache_size=arguments.retry_cache,
    )
    await soak.run(outage=arguments.outage)
    return soak.report()


def main() -> None:
    """Run one soak test and print the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--days", type=float, required=True)
    parser.add_argument("--look-every-h", type=float, required=True)
    parser.add_argument("--interval-s", type=float, default=600.0, help="of the housekeeping")
    parser.add_argument("--retry-cache", type=int, default=1000)
    parser.add_argument("--outage", type=float, nargs=2, metavar=("FROM_HOUR", "TO_HOUR"))
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    poll_rarely()
    with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
        report = runner.run(_live(arguments))
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
