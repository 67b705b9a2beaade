"""`python -m hack.bench`: compares ours with the built-in Job controller, JobSet and Kubeflow Trainer.

Prints all results. docs/benchmark.md explains the method, and what is not comparable.
"""

import argparse
import asyncio
import datetime as dt
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from hack.bench import plan, ratios, report
from hack.bench.arena import arena
from hack.bench.contestants import ALL, OURS
from hack.bench.measure import Measurement, measure
from hack.bench.other_process import built
from hack.bench.plan import Repetition, Size
from hack.bench.summary import Summary, summarise
from hack.cluster.assets import AssetsError, build, kubernetes_version
from hack.cluster.process import StartError

_SMOKE_JOBS: Final = 50


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return 1 if a smoke run exceeds a limit, or if the run failed."""
    arguments = _parser().parse_args(argv)
    try:
        assets = build()
        repetitions = _possible(_repetitions(arguments), asked=arguments.only or ())
        runs = _run(assets, repetitions, keep=arguments.keep)
    except (AssetsError, StartError, RuntimeError) as error:
        _say(str(error))
        return 1
    sys.stdout.write(_markdown(runs))
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(_document(runs), indent=1) + "\n")
    found = [each for summaries in runs.values() for each in report.problems(summaries)]
    for problem in found:
        _say(problem)
    return 1 if found and arguments.smoke else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hack.bench", description=__doc__)
    size = Size()
    parser.add_argument("--smoke", action="store_true", help="only count, and fail on the counts")
    parser.add_argument("--jobs", type=int, help="of a burst")
    parser.add_argument("--default-jobs", type=int, default=size.default_jobs)
    parser.add_argument("--rounds", type=int, default=size.rounds)
    parser.add_argument("--rate", type=float, default=size.rate, help="of the stream, jobs/s")
    parser.add_argument("--seconds", type=float, default=size.seconds, help="of the stream")
    parser.add_argument("--gangs", type=int, default=size.gangs, help="jobs of many ranks")
    parser.add_argument("--ranks", type=int, default=size.ranks, help="of each of these")
    parser.add_argument("--only-run", choices=("A", "B"))
    parser.add_argument("--only", choices=tuple(ALL), action="append", help="this contestant")
    parser.add_argument("--workload", choices=plan.WORKLOADS, action="append", help="this one")
    parser.add_argument("--json", type=Path, help="where to write everything, for programs")
    parser.add_argument("--keep", type=Path, help="keep logs and audit logs in this folder")
    return parser


def _repetitions(arguments: argparse.Namespace) -> list[Repetition]:
    if arguments.smoke:
        found = plan.smoke(arguments.jobs or _SMOKE_JOBS)
    else:
        found = plan.full(
            Size(
                jobs=arguments.jobs or Size.jobs,
                default_jobs=arguments.default_jobs,
                rounds=arguments.rounds,
                rate=arguments.rate,
                seconds=arguments.seconds,
                gangs=arguments.gangs,
                ranks=arguments.ranks,
            )
        )
    found = [each for each in found if arguments.only_run in {None, each.run}]
    return plan.chosen(found, arguments.only or (), arguments.workload or ())


def _possible(repetitions: list[Repetition], *, asked: Collection[str]) -> list[Repetition]:
    """Leave out contestants that have not been built on this machine, unless they are requested by name.

    Raises:
        AssetsError: a requested one has not been built.
    """
    found, missing = [], dict[str, str]()
    for each in repetitions:
        try:
            for name in each.contestant.operators:
                if name != "operator":  # ours needs no build
                    built(name)
        except AssetsError as error:
            if each.contestant.name in asked:
                raise
            missing[each.contestant.name] = str(error)
        else:
            found.append(each)
    for left_out, why in missing.items():
        _say(f"{left_out} is left out: {why}")
    return found


def _run(
    assets: Path, repetitions: list[Repetition], *, keep: Path | None
) -> dict[tuple[str, str], list[Summary]]:
    found: dict[tuple[str, str], list[Measurement]] = {}
    begun = time.monotonic()
    for number, each in enumerate(repetitions, 1):
        _say(
            f"{number}/{len(repetitions)}, run {each.run}: {each.contestant.name} "
            f"({time.monotonic() - begun:.0f} s so far)"
        )
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            root = Path(scratch) / "state"
            try:
                with arena(assets, root, each.contestant, each.nodes) as ready:
                    measured = asyncio.run(measure(ready, list(each.workloads)))
            finally:
                if keep is not None:
                    _keep(root, keep / f"{number:02}-{each.run}-{each.contestant.name}")
        found.setdefault((each.run, each.nodes), []).extend(measured)
    _say(f"done in {time.monotonic() - begun:.0f} s")
    return {run: summarise(measurements) for run, measurements in found.items()}


def _keep(root: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for log in root.glob("*.log"):
        shutil.copy(log, folder)


def _markdown(runs: dict[tuple[str, str], list[Summary]]) -> str:
    parts = [_conditions(runs)]
    for (run, nodes), summaries in runs.items():
        parts += [report.tables(run, nodes, summaries), report.verdicts(run, summaries)]
    for (run, _), summaries in runs.items():
        if any(each.contestant == OURS.name for each in summaries):
            table = ratios.table(each.as_json() for each in summaries)
            parts.append(f"Run {run}, ours against the others:\n\n{table}")
    return "\n".join(parts)


def _conditions(runs: dict[tuple[str, str], list[Summary]]) -> str:
    loads = [part.load for each in runs.values() for summary in each for part in summary.parts]
    today = dt.datetime.now(dt.UTC).date()
    return (
        f"{today}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, Kubernetes {kubernetes_version()}, load average "
        f"before each workload {min(loads, default=0):.1f}-{max(loads, default=0):.1f}\n"
    )


def _document(runs: dict[tuple[str, str], list[Summary]]) -> dict[str, Any]:
    return {
        "conditions": _conditions(runs).strip(),
        "runs": {
            run: {"nodes": nodes, "results": [each.as_json() for each in summaries]}
            for (run, nodes), summaries in runs.items()
        },
    }


def _say(line: str) -> None:
    sys.stderr.write(f"bench: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
