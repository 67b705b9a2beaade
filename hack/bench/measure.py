"""Runs one workload with one contestant, and measures it."""

import asyncio
import os
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from hack.bench import audit
from hack.bench.access import Object
from hack.bench.arena import Arena
from hack.bench.lookout import Lookout, Sightings, lookout
from hack.bench.usage import cpu_s, machine_cpu_s, rss_mb
from hack.bench.workload import Workload, prepare, submit

_SETTLE_S: Final = 2.0
"""Seconds after the last job's end in which requests are still charged to the contestant."""

_GOOD: Final = {"Complete", "Completed", "Succeeded"}
_MACHINE: Final = "machine-"
_PATIENCE_S: Final = 30.0
_WARM_UP: Final = Workload(name="warm-up", jobs=5, run_ms=100, patience_s=60.0)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The results of one contestant with one workload, in one repetition.

    Attributes:
        contestant, workload, jobs, ranks: the contestant and the workload.
        controllers: names of the contestant's own processes.
        finished: jobs that finished; `failed` of these did not end as Complete or Succeeded.
        seconds: from the first request of the submitter to the last job's end.
        pods_seconds: from there to the last pod's appearance.
        latencies_ms: from a pod's end to its job's end, sorted.
        long_runs: pods that ran long enough to be reported as Running.
        duplicates: pods beyond the ranks of their job.
        requests: the contestant's.
        rss_mb: of the contestant's processes together, at the start and at the end.
        cpu_s: seconds of CPU by process, and of the whole machine: `machine-busy`, ...
        load: the machine's load average of one minute, before.
    """

    contestant: str
    workload: str
    jobs: int
    ranks: int = 1
    controllers: tuple[str, ...] = ()
    finished: int
    failed: int
    seconds: float
    pods_seconds: float
    latencies_ms: list[float]
    long_runs: int
    duplicates: int
    requests: audit.Requests
    rss_mb: tuple[float, float] | None
    cpu_s: dict[str, float] = field(default_factory=dict)
    load: float = 0.0

    @property
    def rate(self) -> float:
        """Return the jobs per second."""
        return self.finished / self.seconds if self.seconds > 0 else 0.0

    @property
    def foreign_cores(self) -> float:
        """Return the cores that processes outside the benchmark kept busy meanwhile."""
        ours = sum(spent for name, spent in self.cpu_s.items() if not name.startswith(_MACHINE))
        return max(self.cpu_s[f"{_MACHINE}busy"] - ours, 0.0) / max(self.seconds, 0.001)


async def measure(arena: Arena, workloads: list[Workload]) -> list[Measurement]:
    """Warm up, then run these workloads one after the other, each in a new namespace.

    Raises:
        RuntimeError: not even the warm-up finished.
    """
    async with (
        lookout(arena.access("bench-observer"), arena.contestant) as watcher,
        arena.access("bench-submitter").session(connections=16) as session,
    ):
        for_warmth = await _one(arena, watcher, session, _WARM_UP)
        if for_warmth.finished < _WARM_UP.jobs:
            raise RuntimeError(f"{arena.contestant.name} runs no jobs; see {arena.plane.root}")
        return [await _one(arena, watcher, session, workload) for workload in workloads]


async def _one(
    arena: Arena, watcher: Lookout, session: aiohttp.ClientSession, workload: Workload
) -> Measurement:
    log, contestant, namespace = arena.plane.audit_log, arena.contestant, workload.name
    await make_namespace(session, namespace)
    await prepare(session, contestant.kind, namespace, workload)
    start, load = audit.size(log), os.getloadavg()[0]
    pids = arena.pids | {"observer": watcher.pid, "submitter": os.getpid()}
    cpu_before, rss_before = _cpu(pids), _rss(pids, contestant.processes)
    begun = await submit(session, contestant.kind, namespace, workload)
    await watcher.wait_for(namespace, workload.jobs, patience_s=workload.patience_s)
    cpu_after = _cpu(pids)
    await asyncio.sleep(_SETTLE_S)
    rss_after = _rss(pids, contestant.processes)
    seen = watcher.of(namespace)
    over = [at for at, _ in seen.terminal.values()]
    return Measurement(
        contestant=contestant.name,
        workload=workload.name,
        jobs=workload.jobs,
        ranks=workload.ranks,
        controllers=contestant.processes,
        finished=len(over),
        failed=sum(how not in _GOOD for _, how in seen.terminal.values()),
        seconds=max(over, default=begun) - begun,
        pods_seconds=seen.last_pod - begun,
        latencies_ms=_latencies_ms(seen),
        long_runs=seen.long_runs,
        duplicates=sum(max(len(pods) - workload.ranks, 0) for pods in seen.pods.values()),
        requests=audit.count(log, contestant.users, start=start, end=audit.size(log)),
        rss_mb=None if rss_before is None or rss_after is None else (rss_before, rss_after),
        cpu_s={name: cpu_after[name] - before for name, before in cpu_before.items()},
        load=load,
    )


def _latencies_ms(seen: Sightings) -> list[float]:
    return sorted(
        (at - seen.ended[job]) * 1000
        for job, (at, _) in seen.terminal.items()
        if job in seen.ended
    )


def _cpu(pids: dict[str, int]) -> dict[str, float]:
    machine = {f"{_MACHINE}{what}": spent for what, spent in machine_cpu_s().items()}
    return {name: cpu_s(pid) for name, pid in pids.items()} | machine


def _rss(pids: dict[str, int], names: tuple[str, ...]) -> float | None:
    return sum(rss_mb(pids[name]) for name in names) if names else None


async def make_namespace(session: aiohttp.ClientSession, name: str) -> None:
    """Create a namespace, and wait until pods are admitted to it."""
    body: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    async with session.post("/api/v1/namespaces", json=body) as answer:
        answer.raise_for_status()
    async with asyncio.timeout(_PATIENCE_S):
        await _wait_until_there(session, f"/api/v1/namespaces/{name}/serviceaccounts/default")


async def _wait_until_there(session: aiohttp.ClientSession, path: str) -> None:
    while True:
        async with session.get(path) as answer:
            if answer.ok:
                return
        await asyncio.sleep(0.05)
