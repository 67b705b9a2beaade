"""`python -m hack.bench.scale`: measures a start, a resync, a large job and many policies.

It uses a real control plane without nodes: the completer sets pods to Running, for an hour. One job in ten
runs, and the others are suspended. docs/benchmark.md explains the figures and has results.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import aiohttp

from hack.bench import audit, definitions
from hack.bench.access import PODS, Access
from hack.bench.arena import access_to, start_completer
from hack.bench.contestants import OURS
from hack.bench.manifests import collection, manifest
from hack.bench.operator_process import operator
from hack.bench.usage import cpu_s, rss_mb
from hack.cluster.assets import AssetsError, build
from hack.cluster.control_plane import ControlPlane, Options
from hack.cluster.process import StartError

_AT_ONCE: Final = 32
_RUN_MS: Final = 3_600_000
_LIVE: Final = 0.1
_RESYNC_S: Final = 20
_SWEEP_S: Final = 50.0
"""Seconds after a start within which every policy has its first sweep."""

_PATIENCE_S: Final = 600.0
_QUIET_S: Final = 3.0
_NAMESPACE: Final = "scale"
_READS: Final = frozenset({"get", "list", "watch"})


@dataclass(frozen=True)
class Asked:
    """The operator's requests to the API server.

    Attributes:
        lists: started lists by resource, without those of a single object, which are made to get
            the version.
        pages: responses of which those lists consisted.
        requests: all requests.
        writes: writes but Events and Leases, by verb and resource.
    """

    lists: Counter[str] = field(default_factory=Counter)
    pages: int = 0
    requests: int = 0
    writes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Figures:
    """One line of the report: the cost of one operation."""

    what: str
    seconds: float
    cpu_s: float
    rss_mb: float
    peak_mb: float
    asked: Asked


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return 1 if it failed. Results are printed and not judged."""
    arguments = _parser().parse_args(argv)
    parts = arguments.part or ["start", "gang", "policies"]
    try:
        assets = build()
        sys.stdout.write(_head())
        for part in parts:
            sizes = arguments.jobs if part == "start" else [0]
            for size in sizes:
                with _plane(assets) as plane:
                    for figures in _PARTS[part](plane, arguments, size):
                        sys.stdout.write(line(figures))
                        sys.stdout.flush()
    except (AssetsError, StartError, RuntimeError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hack.bench.scale", description=__doc__)
    parser.add_argument(
        "--jobs", type=int, nargs="+", default=[10_000, 20_000], help="known at a start"
    )
    parser.add_argument("--ranks", type=int, default=1000, help="of the one large job")
    parser.add_argument("--policies", type=int, default=500, help="namespaces with one each")
    parser.add_argument("--part", choices=tuple(_PARTS), action="append", help="only this one")
    return parser


@contextmanager
def _plane(assets: Path) -> Iterator[ControlPlane]:
    """Start a control plane with our CRDs, the namespace and the completer."""
    options = Options(
        scheduler=False,
        # The requests are counted from one unrotated audit log.
        api_server=("--audit-log-maxsize=10000",),
        controllers=OURS.controllers(nodes=False),
    )
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as scratch,
        ControlPlane(assets, Path(scratch) / "state", options) as plane,
    ):
        definitions.install(plane, sorted(definitions.OURS.glob("*.yaml")))
        plane.request("/api/v1/namespaces", {"metadata": {"name": _NAMESPACE}})
        program = start_completer(assets, plane)
        try:
            yield plane
        finally:
            program.stop()


# --- a start, and a resync ----------------------------------------------------------------------


def _starts(plane: ControlPlane, arguments: argparse.Namespace, jobs: int) -> Iterator[Figures]:
    live = int(jobs * _LIVE)
    access = access_to(plane, "bench-scale")
    bodies = [_job(f"job-{number:05}", suspend=number >= live) for number in range(jobs)]
    _say(f"creating {jobs} jobs, of which {live} are to run")
    asyncio.run(_create(access, [(collection("TrainingJob", _NAMESPACE), bodies)]))
    with operator(plane) as pid:
        _say("letting them start")
        asyncio.run(_until(access, PODS, live))
        _wait_until_quiet(plane, pid)
    _say("measuring a start")
    name = f"{jobs} jobs, {live} of them live"
    begin = _begin(plane)
    with operator(plane) as pid:
        yield _figures(f"{name}: start to /readyz", plane, pid, begin)
        time.sleep(_SWEEP_S)
        yield _figures(f"{name}: start to the first sweep's end", plane, pid, begin)
    with operator(plane, TRAININGJOB_RECONCILER__RESYNC_INTERVAL=str(_RESYNC_S)) as pid:
        _wait_until_quiet(plane, pid)
        time.sleep(_SWEEP_S)
        begin = _begin(plane, pid)
        time.sleep(_RESYNC_S)
        yield _figures(f"{name}: one resync", plane, pid, begin)


# --- one large job -------------------------------------------------------------------------------


def _gang(plane: ControlPlane, arguments: argparse.Namespace, _: int) -> Iterator[Figures]:
    access, ranks = access_to(plane, "bench-scale"), arguments.ranks
    with operator(plane) as pid:
        _wait_until_quiet(plane, pid)
        body = manifest("TrainingJob", "large", ranks=ranks, run_ms=_RUN_MS)
        begin = _begin(plane, pid)
        asyncio.run(_create(access, [(collection("TrainingJob", _NAMESPACE), [body])]))
        asyncio.run(_until(access, PODS, ranks))
        yield _figures(f"one job of {ranks} ranks: to all pods", plane, pid, begin)
        _wait_until_quiet(plane, pid)
        yield _figures(f"one job of {ranks} ranks: until quiet", plane, pid, begin)


# --- many policies -------------------------------------------------------------------------------


def _policies(plane: ControlPlane, arguments: argparse.Namespace, _: int) -> Iterator[Figures]:
    access, count = access_to(plane, "bench-scale"), arguments.policies
    names = [f"team-{number:03}" for number in range(count)]
    policy = {
        "apiVersion": "trainingjob.dev/v1alpha1",
        "kind": "RetentionPolicy",
        "metadata": {"name": "default"},
        "spec": {"ttlSecondsAfterFinished": 7200},
    }
    spaces = [{"metadata": {"name": name}} for name in names]
    asyncio.run(_create(access, [("/api/v1/namespaces", spaces)]))
    jobs = [collection("TrainingJob", name) for name in names]
    each = [(path.replace("trainingjobs", "retentionpolicies"), [policy]) for path in jobs]
    each += [(path, [_job("waits", suspend=True)]) for path in jobs]
    asyncio.run(_create(access, each))
    with operator(plane) as pid:
        _wait_until_quiet(plane, pid)
    begin = _begin(plane)
    with operator(plane) as pid:
        yield _figures(f"{count} policies: start to /readyz", plane, pid, begin)
        time.sleep(_SWEEP_S)
        yield _figures(f"{count} policies: to the end of first sweeps", plane, pid, begin)


_PARTS: Final = {"start": _starts, "gang": _gang, "policies": _policies}


# --- what is done to the cluster ----------------------------------------------------------------


def _job(name: str, *, suspend: bool = False) -> dict[str, Any]:
    body = manifest("TrainingJob", name, ranks=1, run_ms=_RUN_MS)
    if suspend:
        body["spec"]["suspend"] = True
    return body


async def _create(access: Access, what: Sequence[tuple[str, Sequence[dict[str, Any]]]]) -> None:
    """Create these objects at these paths, many at once."""
    waiting = iter([(path, body) for path, bodies in what for body in bodies])

    async def work(session: aiohttp.ClientSession) -> None:
        for path, body in waiting:
            async with session.post(path, json=body) as answer:
                await answer.read()
                answer.raise_for_status()

    async with access.session(connections=_AT_ONCE) as session, asyncio.TaskGroup() as tasks:
        for _ in range(_AT_ONCE):
            tasks.create_task(work(session))


async def _until(access: Access, path: str, count: int) -> None:
    """Wait until this many objects exist at a path."""
    deadline = time.monotonic() + _PATIENCE_S
    found = -1
    async with access.session(connections=1) as session:
        while found < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{found} of {count} at {path} after {_PATIENCE_S:.0f} s")
            await asyncio.sleep(0.5)
            async with session.get(path, params={"limit": "1"}) as answer:
                if not answer.ok:
                    continue  # the machine is fully loaded: retry
                document = await answer.json()
            left = document["metadata"].get("remainingItemCount", 0)
            found = len(document["items"]) + left


def _wait_until_quiet(plane: ControlPlane, pid: int) -> None:
    """Wait until the operator uses no CPU and writes nothing."""
    while True:
        begin = _begin(plane, pid)
        time.sleep(_QUIET_S)
        has_written = bool(_asked(plane.audit_log, begin.log).writes)
        if not has_written and cpu_s(pid) - begin.cpu_s < 0.05 * _QUIET_S:
            return


# --- what is measured ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Begin:
    """The start of a measurement: time, size of the audit log, and CPU used."""

    at: float
    log: int
    cpu_s: float


def _begin(plane: ControlPlane, pid: int | None = None) -> _Begin:
    """Start to measure a process; None: one that is about to be started."""
    used = 0.0 if pid is None else cpu_s(pid)
    return _Begin(time.monotonic(), audit.size(plane.audit_log), used)


def _figures(what: str, plane: ControlPlane, pid: int, begin: _Begin) -> Figures:
    return Figures(
        what=what,
        seconds=time.monotonic() - begin.at,
        cpu_s=cpu_s(pid) - begin.cpu_s,
        rss_mb=rss_mb(pid),
        peak_mb=rss_mb(pid, peak=True),
        asked=_asked(plane.audit_log, begin.log),
    )


def _asked(log: Path, mark: int) -> Asked:
    """Count the operator's requests from a size of the audit log on."""
    with log.open("rb") as file:
        file.seek(mark)
        entries = [json.loads(line) for line in file.read().splitlines(keepends=True)[:-1]]
    ours = (entry for entry in entries if entry["user"]["username"] in OURS.users)
    # A watch has an entry at its start, and another one at its end, some minutes later.
    return count([e for e in ours if (e["verb"] == "watch") == (e["stage"] == "ResponseStarted")])


def count(entries: Sequence[dict[str, Any]]) -> Asked:
    """Count the requests in these entries of an audit log."""
    asked = Asked()
    pages = 0
    for entry in entries:
        target, verb = entry.get("objectRef") or {}, entry["verb"]
        resource = target.get("resource", "")
        if verb == "list":
            query = parse_qs(urlsplit(entry["requestURI"]).query)
            single = query.get("limit") == ["1"]
            pages += not single
            if not single and "continue" not in query:
                asked.lists[resource] += 1
        elif verb not in _READS and resource not in {"events", "leases", ""}:
            part = f"/{target['subresource']}" if "subresource" in target else ""
            asked.writes[f"{verb} {resource}{part}"] += 1
    return replace(asked, pages=pages, requests=len(entries))


def _head() -> str:
    names = (
        "what",
        "seconds",
        "CPU s",
        "RSS MiB",
        "peak MiB",
        "lists",
        "pages",
        "requests",
        "writes",
    )
    return f"| {' | '.join(names)} |\n|{' --- |' * len(names)}\n"


def line(each: Figures) -> str:
    """Return a row of the table."""
    cells = (
        each.what,
        f"{each.seconds:.1f}",
        f"{each.cpu_s:.1f}",
        f"{each.rss_mb:.0f}",
        f"{each.peak_mb:.0f}",
        _counted(each.asked.lists),
        str(each.asked.pages),
        str(each.asked.requests),
        _counted(each.asked.writes),
    )
    return f"| {' | '.join(cells)} |\n"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items())) or "none"


def _say(what: str) -> None:
    sys.stderr.write(f"bench: {what}\n")


if __name__ == "__main__":
    sys.exit(main())
