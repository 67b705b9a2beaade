"""`python -m hack.bench.profile`: profiles the API server's CPU time in a burst, with ours and job-tuned.

The profile is the API server's own, requested over its HTTP API during the burst, and read by Go's
`pprof`. A row of the table is a function with everything that it calls, so rows overlap: the schema check
of a PATCH is a part of that PATCH.
"""

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hack.bench.arena import Arena, arena
from hack.bench.contestants import JOB_TUNED, OURS, Contestant
from hack.bench.measure import Measurement, measure
from hack.bench.plan import BURST
from hack.bench.workload import Workload
from hack.cluster.assets import AssetsError, build, go
from hack.cluster.process import StartError

ROWS: Final = {
    "POST, without its answer": r"registry/generic/registry\.\(\*Store\)\.Create$",
    "PATCH and PUT, without their answers": r"registry/generic/registry\.\(\*Store\)\.Update$",
    "patches, applied to the object": r"handlers\.\(\*patcher\)\.applyPatch$",
    "CEL rules of the schema": r"schema/cel\.\(\*Validator\)\.Validate$",
    "OpenAPI schema": r"kube-openapi/pkg/validation/validate\.\(\*SchemaValidator\)\.Validate$",
    "managed fields": r"managedfields/internal\.\(\*FieldManager\)\.UpdateNoErrors$",
    "watches of clients": r"handlers\.\(\*WatchServer\)\.HandleHTTP$",
    "objects that etcd tells of, decoded": r"etcd3\.\(\*watchChan\)\.transform$",
    "audit log": r"apiserver/plugin/pkg/audit/log\.\(\*backend\)\.ProcessEvents$",
    "garbage collection of Go": r"runtime\.gcBgMarkWorker$",
}
"""Title of each row, and the function whose time it shows."""

_LOOK_S: Final = 0.05


@dataclass(frozen=True)
class Profile:
    """The CPU profile of a process.

    Attributes:
        total_s: total CPU time in seconds.
        spent_s: seconds by function, including everything that it calls.
    """

    total_s: float
    spent_s: Mapping[str, float]

    def of(self, pattern: str) -> float:
        """Return the largest time in seconds of the functions with this name."""
        found = (spent for name, spent in self.spent_s.items() if re.search(pattern, name))
        return max(found, default=0.0)


def read(report: str) -> Profile:
    """Parse the output of `go tool pprof -top -cum`.

    Raises:
        ValueError: there is no total in it.
    """
    total = re.search(r"Total samples = ([\d.]+)(ms|s|mins)", report)
    if total is None:
        raise ValueError(f"this is no profile: {report[:200]!r}")
    rows = re.findall(
        r"^ *\S+ +\S+ +\S+ +([\d.]+)(ms|s|mins|) +\S+  (\S+)(?: \(.*\))?$", report, re.MULTILINE
    )
    spent = {name: _seconds(number, unit) for number, unit, name in rows}
    return Profile(_seconds(total[1], total[2]), spent)


def render(profiles: Mapping[str, Profile], cpu_ms: Mapping[str, float]) -> str:
    """Return the profiles as a Markdown table.

    Args:
        profiles: by contestant.
        cpu_ms: the API server's CPU time for each job, in milliseconds, by contestant. A profile
            covers a part of the burst, so its times are scaled to this.
    """
    names = list(profiles)
    lines = [
        f"| API server, CPU ms/job | {' | '.join(names)} |",
        f"| --- |{' --- |' * len(names)}",
        f"| all of it | {' | '.join(f'{cpu_ms[name]:.1f}' for name in names)} |",
    ]
    for row, pattern in ROWS.items():
        each = (
            cpu_ms[name] * profiles[name].of(pattern) / profiles[name].total_s for name in names
        )
        lines.append(f"| {row} | {' | '.join(f'{one:.1f}' for one in each)} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Run the bursts one after the other and print the table; return 1 if that fails."""
    parser = argparse.ArgumentParser(prog="python -m hack.bench.profile", description=__doc__)
    parser.add_argument("--jobs", type=int, default=500, help="of each burst")
    parser.add_argument("--seconds", type=int, default=5, help="profiled, from its begin on")
    arguments = parser.parse_args(argv)
    profiles, cpu_ms = dict[str, Profile](), dict[str, float]()
    try:
        assets = build()
        for each in (OURS, JOB_TUNED):
            sys.stderr.write(f"bench: a profile of {each.name}\n")
            found = _profile(assets, each, arguments.jobs, arguments.seconds)
            profiles[each.name], cpu_ms[each.name] = found
    except (AssetsError, StartError, RuntimeError, ValueError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    sys.stdout.write(render(profiles, cpu_ms))
    return 0


def _profile(
    assets: Path, contestant: Contestant, jobs: int, seconds: int
) -> tuple[Profile, float]:
    """Return the profile of one burst, and the API server's CPU time for each job in milliseconds."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        root = Path(scratch)
        with arena(assets, root / "state", contestant, "completer") as ready:
            file = root / "profile"
            measured = asyncio.run(_burst(ready, jobs, seconds, file))
        report = _top(file)
    return read(report), 1000 * measured.cpu_s["api-server"] / max(measured.finished, 1)


async def _burst(ready: Arena, jobs: int, seconds: int, file: Path) -> Measurement:
    burst = Workload(name=BURST, jobs=jobs, run_ms=100)
    fetching = asyncio.create_task(_fetch(ready, seconds, file))
    try:
        [measured] = await measure(ready, [burst])
        await fetching
    finally:
        fetching.cancel()
    return measured


async def _fetch(ready: Arena, seconds: int, file: Path) -> None:
    """Wait for the burst, which starts as soon as its namespace exists, and profile it.

    Raises:
        RuntimeError: the API server returns no profile.
    """
    async with ready.access("bench-profile").session(connections=1) as session:
        while True:
            async with session.get(f"/api/v1/namespaces/{BURST}") as answer:
                if answer.ok:
                    break
            await asyncio.sleep(_LOOK_S)
        query = {"seconds": str(seconds)}
        async with session.get("/debug/pprof/profile", params=query) as answer:
            content = await answer.read()
            if not answer.ok:
                raise RuntimeError(f"the API server gives no profile: {content[:200]!r}")
    file.write_bytes(content)  # noqa: ASYNC240 - nothing else is to be done any more


def _top(file: Path) -> str:
    """Return the output of `go tool pprof`, with all functions."""
    command = [go(), "tool", "pprof", "-top", "-cum", "-nodefraction=0", "-nodecount=100000"]
    done = subprocess.run([*command, str(file)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"go tool pprof: {done.stderr.strip()[-500:]}")
    return done.stdout


def _seconds(number: str, unit: str) -> float:
    return float(number) * {"ms": 0.001, "s": 1.0, "mins": 60.0, "": 0.0}[unit]


if __name__ == "__main__":
    sys.exit(main())
