"""`python -m hack.bench.records`: measures the cost of records, and their rate after an outage.

It measures only ours, since the Job controller keeps no records: the requests for one-pod jobs whose records
are stored in time or late, and the drain to a record service on this machine. See docs/benchmark.md.
"""

import argparse
import asyncio
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hack.bench import report
from hack.bench.arena import arena
from hack.bench.contestants import OURS
from hack.bench.drain import Drain, drain
from hack.bench.endpoints import receiver, recording_to
from hack.bench.measure import measure
from hack.bench.plan import STREAM
from hack.bench.summary import Summary, summarise
from hack.bench.workload import Workload
from hack.cluster.assets import AssetsError, build
from hack.cluster.process import StartError
from hack.ports import free_port

MIN_DRAIN: Final = 300.0
"""Target of records per second to a record service with SQLite, on two cores that everything shares."""

_RATE: Final = 10.0
_RUN_MS: Final = 100
_JOBS: Final = 50
_DRAIN_JOBS: Final = 1000


@dataclass(frozen=True)
class Case:
    """An endpoint delay, and the maximum of own requests for a job with it.

    A record that is stored in time is part of the job's last status write; a later one takes a status
    write of its own. In both cases the finalizer is added before the pod, and released at the end.
    """

    name: str
    delay_ms: int
    max_requests: float


CASES: Final = (
    Case("ours, records taken in time", 0, 5.0),
    Case("ours, records taken late", 500, 6.0),
)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return 1 if a count exceeds its limit, or if the run failed."""
    arguments = _parser().parse_args(argv)
    try:
        assets = build()
        found = [(case, _requests(assets, case, arguments.jobs)) for case in CASES]
        sys.stdout.write(render(found))
        sys.stdout.flush()
        if not arguments.smoke:
            sys.stdout.write(render_drain(_drain(assets, arguments.drain_jobs)))
    except (AssetsError, StartError, RuntimeError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    problems = [problem for case, each in found for problem in problems_of(case, each)]
    sys.stderr.write("".join(f"bench: {problem}\n" for problem in problems))
    return 1 if problems and arguments.smoke else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hack.bench.records", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="only count, and fail on the counts")
    parser.add_argument("--jobs", type=int, default=_JOBS, help="whose requests are counted")
    parser.add_argument("--drain-jobs", type=int, default=_DRAIN_JOBS, help="of the outage")
    return parser


def _requests(assets: Path, case: Case, jobs: int) -> Summary:
    sys.stderr.write(f"bench: {case.name}\n")
    workload = Workload(name=STREAM, jobs=jobs, rate=_RATE, run_ms=_RUN_MS)
    port, contestant = free_port(), replace(OURS, name=case.name)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as scratch,
        receiver(Path(scratch), port, delay_ms=case.delay_ms),
        recording_to(port),
        arena(assets, Path(scratch) / "state", contestant, "completer") as ready,
    ):
        [summary] = summarise(asyncio.run(measure(ready, [workload])))
    return summary


def _drain(assets: Path, jobs: int) -> Drain:
    sys.stderr.write(f"bench: {jobs} jobs in an outage\n")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        return drain(assets, Path(scratch) / "state", jobs=jobs)


def render(found: list[tuple[Case, Summary]]) -> str:
    """Return the cost of records as Markdown; each line has the deciding figure."""
    lines = [
        _verdict(
            f"at most {case.max_requests:g} own requests for each job, {case.name}: "
            f"{each.per_job('own'):.2f} {_detail(each)}",
            met=not problems_of(case, each),
        )
        for case, each in found
    ]
    table = report.tables("records", "completer", [each for _, each in found])
    return f"{table}\nRecords:\n\n" + "\n".join(lines) + "\n"


def render_drain(drained: Drain) -> str:
    """Return the rates after the outage as Markdown."""
    return (
        _verdict(
            f"at least {MIN_DRAIN:g} records/s after an outage, to a record service with SQLite: "
            f"{drained.rate:.0f} records/s stored ({drained.records} in {drained.seconds:.1f} s), "
            f"{drained.acknowledged_rate:.0f} jobs/s acknowledged "
            f"(the last one {drained.settled_s:.1f} s after the first record)",
            met=drained.rate >= MIN_DRAIN,
        )
        + "\n"
        + f"- CPU ms for each record of the drain: {_cpu(drained)}; own requests: "
        + f"{dict(drained.requests)}\n"
    )


def _cpu(drained: Drain) -> str:
    return ", ".join(f"{name} {spent:.1f}" for name, spent in drained.cpu_ms.items())


def problems_of(case: Case, summary: Summary) -> list[str]:
    """Return the counts that exceed their limit, which does not depend on the machine's speed."""
    found = []
    if summary.unfinished:
        found.append(f"{case.name}: {summary.unfinished} of {summary.jobs} jobs did not complete")
    # That a pod runs is a write of its own where it runs for long.
    used = summary.total("own")
    allowed = case.max_requests * summary.finished + summary.long_runs
    if used > allowed:
        found.append(
            f"{case.name}: {used} own requests for {summary.finished} jobs, of which "
            f"{summary.long_runs} ran for long; at most {allowed:.0f} are allowed: "
            f"{_detail(summary)}"
        )
    return found


def _detail(summary: Summary) -> str:
    return str(dict(summary.parts[0].requests.detail))


def _verdict(text: str, *, met: bool) -> str:
    return f"- {'met' if met else 'NOT met'}: {text}"


if __name__ == "__main__":
    sys.exit(main())
