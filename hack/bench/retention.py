"""`python -m hack.bench.retention`: measures how fast finished jobs are deleted when all expire at once.

It compares ours with the built-in TTL controller, each with the same number of jobs. The benchmark writes
finished jobs without pods before our operator is started, so that nothing else is measured. Their
`ttlSecondsAfterFinished` expires in the same second. See docs/benchmark.md.
"""

import argparse
import asyncio
import datetime as dt
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from hack.bench import audit, definitions
from hack.bench.access import Access, Object, changes
from hack.bench.arena import Arena, arena, wait_for_garbage_collector
from hack.bench.contestants import MANAGER, OURS, Contestant
from hack.bench.manifests import collection, manifest
from hack.bench.measure import make_namespace
from hack.bench.operator_process import operator
from hack.bench.usage import cpu_s, machine_cpu_s
from hack.cluster.assets import AssetsError, build
from hack.cluster.process import StartError

TTL: Final = Contestant(name="ttl-controller", kind="Job")
"""The controllers that run for every contestant, including the TTL controller."""

_NAMESPACE: Final = "retention"
_AT_ONCE: Final = 32
_PATIENCE_S: Final = 60.0
_MERGE: Final = {"Content-Type": "application/merge-patch+json"}
_COLUMNS: Final = (
    "contestant",
    "jobs",
    "deleted/s",
    "first after s",
    "last after s",
    "requests/job",
    "CPU ms/job: controllers",
    "CPU ms/job: API server+etcd",
    "foreign cores",
    "left",
)


@dataclass(frozen=True, kw_only=True)
class Removal:
    """The results of one contestant.

    Attributes:
        contestant, jobs: the contestant and its number of jobs.
        gone: the number of deleted jobs.
        seconds: from the second in which they expired until the last deletion.
        first_s: from then until the first deletion.
        requests: of the contestant's users, and of the garbage collector.
        cpu_s: of each process meanwhile, in seconds.
        foreign_cores: cores that other processes kept busy.
    """

    contestant: str
    jobs: int
    gone: int
    seconds: float
    first_s: float
    requests: int
    cpu_s: dict[str, float]
    foreign_cores: float

    @property
    def rate(self) -> float:
        """Return the jobs deleted per second."""
        return self.gone / max(self.seconds, 0.001)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return 1 if it failed, or if jobs were left."""
    arguments = _parser().parse_args(argv)
    names = arguments.only or [OURS.name, TTL.name]
    found = []
    try:
        assets = build()
        for contestant in (OURS, TTL):
            if contestant.name in names:
                sys.stderr.write(f"bench: {contestant.name}, {arguments.jobs} finished jobs\n")
                found.append(_run(assets, contestant, arguments.jobs, arguments.ttl))
    except (AssetsError, StartError, RuntimeError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    sys.stdout.write(render(found))
    return 1 if any(each.gone < each.jobs for each in found) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hack.bench.retention", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000, help="finished ones")
    parser.add_argument(
        "--ttl", type=int, default=180, help="seconds in which they are written and ours starts"
    )
    parser.add_argument("--only", choices=(OURS.name, TTL.name), action="append")
    return parser


def render(found: list[Removal]) -> str:
    """Return the results as Markdown."""
    rows = [list(_COLUMNS), ["---"] * len(_COLUMNS), *map(_row, found)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(each: Removal) -> list[str]:
    cpu = {name: 1000 * spent / max(each.gone, 1) for name, spent in each.cpu_s.items()}
    return [
        each.contestant,
        f"{each.jobs}",
        f"{each.rate:.0f}",
        f"{each.first_s:.1f}",
        f"{each.seconds:.1f}",
        f"{each.requests / max(each.gone, 1):.2f}",
        f"{cpu[MANAGER] + cpu.get('operator', 0.0):.1f}",
        f"{cpu['api-server'] + cpu['etcd']:.1f}",
        f"{each.foreign_cores:.2f}",
        f"{each.jobs - each.gone}",
    ]


def _run(assets: Path, contestant: Contestant, jobs: int, ttl: int) -> Removal:
    """Measure the deletion of one contestant's jobs, on a control plane of its own.

    Raises:
        RuntimeError: they expired before everything was ready.
    """
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        ready = stack.enter_context(arena(assets, Path(scratch) / "state", TTL, "completer"))
        if contestant is OURS:
            definitions.install(ready.plane, sorted(definitions.OURS.glob("*.yaml")))
        finished_at = time.time()
        access = ready.access("bench-submitter")
        asyncio.run(_write(access, contestant, jobs, ttl=ttl, finished_at=finished_at))
        pids = ready.pids
        if contestant is OURS:
            pids = pids | {"operator": stack.enter_context(operator(ready.plane))}
        wait_for_garbage_collector(ready.plane, contestant)
        if time.time() > finished_at + ttl:
            raise RuntimeError(f"{ttl} s were too short: give a longer --ttl")
        return asyncio.run(_watch(ready, contestant, pids, jobs, finished_at + ttl))


async def _write(
    access: Access, contestant: Contestant, jobs: int, *, ttl: int, finished_at: float
) -> None:
    at = dt.datetime.fromtimestamp(finished_at, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    gate = asyncio.Semaphore(_AT_ONCE)
    path = collection(contestant.kind, _NAMESPACE)

    async def one(session: aiohttp.ClientSession, name: str) -> None:
        job = manifest(contestant.kind, name, ranks=1, run_ms=100)
        job["spec"]["ttlSecondsAfterFinished"] = ttl
        async with gate:
            async with session.post(path, json=job) as answer:
                answer.raise_for_status()
            body = {"status": finished_status(contestant, at)}
            async with session.patch(f"{path}/{name}/status", json=body, headers=_MERGE) as answer:
                answer.raise_for_status()

    async with access.session(connections=_AT_ONCE) as session:
        await make_namespace(session, _NAMESPACE)
        async with asyncio.TaskGroup() as tasks:
            for number in range(jobs):
                tasks.create_task(one(session, f"job-{number}"))


def finished_status(contestant: Contestant, at: str) -> Object:
    """Return the status of a job that completed at a given time, without pods."""
    ours = contestant.kind == "TrainingJob"
    conditions = [
        {
            "type": kind,
            "status": "True",
            "reason": "CompletionsReached",
            "message": "",
            "lastTransitionTime": at,
        }
        for kind in (("Complete", "Finished") if ours else ("SuccessCriteriaMet", "Complete"))
    ]
    status = {"conditions": conditions, "startTime": at, "completionTime": at}
    if ours:
        return status | {"phase": "Succeeded", "recordState": "NotRequired"}
    return status | {"succeeded": 1}


async def _watch(
    ready: Arena, contestant: Contestant, pids: dict[str, int], jobs: int, over_at: float
) -> Removal:
    """Watch the deletions, from the second in which the jobs expire."""
    gone: list[float] = []
    access = ready.access("bench-observer")
    async with access.session(connections=2) as session:
        following = asyncio.create_task(_follow(session, collection(contestant.kind), gone))
        try:
            await asyncio.sleep(max(over_at - time.time(), 0))
            begun, log = time.monotonic(), audit.size(ready.plane.audit_log)
            cpu, busy, own = _cpu(pids), machine_cpu_s()["busy"], cpu_s(os.getpid())
            await _wait_for(gone, jobs, following)
            last = gone[-1] if gone else time.monotonic()
            spent = {name: after - cpu[name] for name, after in _cpu(pids).items()}
            busy, own = machine_cpu_s()["busy"] - busy, cpu_s(os.getpid()) - own
            window_s = time.monotonic() - begun
        finally:
            following.cancel()
    end = audit.size(ready.plane.audit_log)
    counted = audit.count(ready.plane.audit_log, contestant.users, start=log, end=end)
    return Removal(
        contestant=contestant.name,
        jobs=jobs,
        gone=len(gone),
        seconds=last - begun,
        first_s=(gone[0] if gone else last) - begun,
        requests=counted.own + counted.deletion,
        cpu_s=spent,
        foreign_cores=max(busy - own - sum(spent.values()), 0.0) / window_s,
    )


def _cpu(pids: dict[str, int]) -> dict[str, float]:
    return {name: cpu_s(pid) for name, pid in pids.items()}


async def _wait_for(gone: list[float], jobs: int, following: asyncio.Task[None]) -> None:
    """Wait until all are deleted, or none was for `_PATIENCE_S` seconds."""
    so_far, since = -1, time.monotonic()
    while len(gone) < jobs and not following.done():
        if len(gone) > so_far:
            so_far, since = len(gone), time.monotonic()
        if time.monotonic() - since > _PATIENCE_S:
            return
        await asyncio.sleep(0.1)
    if following.done():
        following.result()  # re-raises its error


async def _follow(session: aiohttp.ClientSession, path: str, gone: list[float]) -> None:
    async for change in changes(session, path):
        if change.kind == "DELETED":
            gone.append(change.at)  # noqa: PERF401 - another task reads the list while it grows


if __name__ == "__main__":
    sys.exit(main())
