"""`python -m hack.bench.ratios FILE.json ...`: the ratios of ours to each of the others, and the targets.

The benchmark prints this table last. As a program it makes one table from several runs' `--json` files; if
two have measured the same, the later file counts. Ratios of figures from different runs are less reliable,
as the machine may have changed in between.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hack.bench.contestants import JOB_TUNED, JOBSET, MANAGER, OURS, TRAINER
from hack.bench.plan import BURST, GANG, STREAM, STREAM_HALF
from hack.bench.summary import SERVER

Result = Mapping[str, Any]
"""The result of `Summary.as_json`: one contestant with one workload."""

OTHERS: Final = (JOB_TUNED.name, JOBSET.name, TRAINER.name)
QUIET_CORES: Final = 0.2
"""Cores that other processes may use before a run counts as disturbed."""


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        title: name and unit of the figure.
        workload: the workload in which it is measured.
        of: function that reads it from a result.
        at_least: minimum ratios of ours to the others, by contestant.
        at_most: maximum value of ours.
        least: True if ours must be less than all others.
    """

    title: str
    workload: str
    of: Callable[[Result], float]
    at_least: Mapping[str, float] = field(default_factory=dict)
    at_most: float = math.inf
    least: bool = False


def _rate(result: Result) -> float:
    return float(statistics.median(result["jobsPerSecond"]))


def _own_requests(result: Result) -> float:
    return float(result["requestsPerJob"]["own"])


def _p99(result: Result) -> float:
    return float(result["latencyMs"]["p99"])


def _controllers_cpu(result: Result) -> float:
    return _cpu(result, result["controllers"])


def _all_cpu(result: Result) -> float:
    return _cpu(result, {*result["controllers"], MANAGER, *SERVER})


def _cpu(result: Result, processes: Iterable[str]) -> float:
    return sum(float(result["cpuMsPerJob"][name]) for name in processes)


def _rss(result: Result) -> float:
    return float(result["rssMiB"][1]) if result["rssMiB"] else math.nan


def _aims(*ratios: float) -> dict[str, float]:
    return dict(zip(OTHERS, ratios, strict=True))


FIGURES: Final = (
    Figure("jobs/s", BURST, _rate, at_least=_aims(1.0, 2.4, 3.3)),
    Figure("jobs/s", GANG, _rate, at_least=_aims(1.0, 1.4, 1.7)),
    Figure("p99 ms", STREAM, _p99, at_most=50.0),
    Figure("p99 ms", STREAM_HALF, _p99),
    Figure("own requests/job", BURST, _own_requests),
    Figure("own requests/job", GANG, _own_requests, at_most=12.0),
    Figure("CPU ms/job: controllers", BURST, _controllers_cpu, at_most=5.0),
    Figure("CPU ms/job: controllers", GANG, _controllers_cpu),
    Figure("CPU ms/job: everything", BURST, _all_cpu),
    Figure("CPU ms/job: everything", GANG, _all_cpu),
    Figure("RSS MiB, at the end", BURST, _rss, least=True),
    Figure("RSS MiB, at the end", GANG, _rss, least=True),
)


def table(results: Iterable[Result]) -> str:
    """Return the table as Markdown, with a line for each figure of each size that ours was measured in."""
    found: dict[tuple[str, int], dict[str, Result]] = {}
    for each in results:
        jobs = each["jobs"] // len(each["repetitions"])
        found.setdefault((each["workload"], jobs), {})[each["contestant"]] = each
    ratios = [f"ours / {other}" for other in OTHERS]
    lines = [["", OURS.name, *OTHERS, *ratios, "aim"]]
    lines.append(["---"] * len(lines[0]))
    for figure in FIGURES:
        for (workload, jobs), by_name in found.items():
            if workload == figure.workload and OURS.name in by_name:
                lines.append(_line(figure, jobs, by_name))
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{text}\n{_disturbed(found)}"


def _line(figure: Figure, jobs: int, by_name: Mapping[str, Result]) -> list[str]:
    values = {
        name: figure.of(by_name[name]) if name in by_name else math.nan
        for name in (OURS.name, *OTHERS)
    }
    ranks = by_name[OURS.name]["ranks"]
    size = f"{jobs} jobs" if ranks == 1 else f"{jobs} jobs x {ranks}"
    return [
        f"{figure.workload}, {size}: {figure.title}",
        *(_number(value) for value in values.values()),
        *(_number(values[OURS.name] / values[other], digits=2) for other in OTHERS),
        _aim(figure, values),
    ]


def _aim(figure: Figure, values: Mapping[str, float]) -> str:
    """Return the target, and whether it was met, if all contestants were measured."""
    ours = values[OURS.name]
    measured = [name for name in OTHERS if not math.isnan(values[name])]
    against: Sequence[str] = OTHERS
    if figure.at_least:
        text = ", ".join(f">= {aim:g}" for aim in figure.at_least.values())
        met = all(ours / values[name] >= figure.at_least[name] for name in measured)
    elif figure.least:
        text = "less than any"
        met = all(ours < values[name] for name in measured)
    elif math.isfinite(figure.at_most):
        text, met, against = f"<= {figure.at_most:g}", ours <= figure.at_most, ()
    else:
        return "-"
    absent = [name for name in against if name not in measured]
    if math.isnan(ours):
        verdict = "not run"
    elif not met:
        verdict = "NOT met"
    else:
        verdict = f"not run against {', '.join(absent)}" if absent else "met"
    return f"{text}: {verdict}"


def _disturbed(found: Mapping[tuple[str, int], Mapping[str, Result]]) -> str:
    lines = []
    for (workload, jobs), by_name in found.items():
        for name, result in by_name.items():
            foreign = max(part["foreignCores"] for part in result["repetitions"])
            if foreign > QUIET_CORES:
                lines.append(
                    f"- disturbed: other processes kept up to {foreign:.1f} cores busy "
                    f"({workload}, {jobs} jobs, {name})\n"
                )
    return "\n" + "".join(lines) if lines else ""


def _number(value: float, *, digits: int = 1) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print one table for each of the runs A and B in the files."""
    parser = argparse.ArgumentParser(prog="python -m hack.bench.ratios", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="what the bench wrote with --json")
    runs: dict[str, list[Result]] = {}
    for file in parser.parse_args(argv).files:
        for run, measured in json.loads(file.read_text())["runs"].items():
            runs.setdefault(run, []).extend(measured["results"])
    for run, results in runs.items():
        sys.stdout.write(f"Run {run}, ours against the others:\n\n{table(results)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
