"""Formats the results as Markdown."""

import math
from collections.abc import Sequence
from typing import Final

from hack.bench.contestants import JOB_TUNED, OURS, RAW
from hack.bench.plan import BURST, GANG
from hack.bench.summary import SERVER, Summary

MAX_REQUESTS: Final = 3.0
MAX_GANG_REQUESTS: Final = 12.0
"""Own requests for a job of eight ranks: the pods, the Service, the start, and the end."""

MAX_P99_MS: Final = 200.0
_AT_THE_CEILING: Final = 0.9

_COLUMNS: Final = (
    "contestant",
    "jobs",
    "jobs/s (min-max)",
    "of ceiling",
    "own requests/job",
    "events/job",
    "list+watch",
    "lease",
    "deletion",
    "p50 ms",
    "p99 ms",
    "RSS MiB start/end",
    "CPU ms/job: own",
    "CPU ms/job: API server+etcd",
    "foreign cores",
    "duplicates",
    "not complete",
)
_QUIET_CORES: Final = 0.2


def tables(run: str, nodes: str, summaries: Sequence[Summary]) -> str:
    """Return a table for each workload of one run."""
    ceiling = next((s.rate for s in summaries if _is(s, RAW.name, BURST)), math.nan)
    workloads = dict.fromkeys(each.workload for each in summaries)
    parts = []
    for workload in workloads:
        rows = [_row(each, ceiling) for each in summaries if each.workload == workload]
        parts.append(f"Run {run} ({nodes}), {workload}:\n\n{_table(rows)}\n")
    return "\n".join(parts)


def verdicts(run: str, summaries: Sequence[Summary]) -> str:
    """Return the targets with their results; each line has the deciding figure."""
    ours = [each for each in summaries if each.contestant == OURS.name]
    lines = [_verdict(f"0 duplicate pods: {sum(s.duplicates for s in ours)}",
                      met=not any(s.duplicates for s in ours))]  # fmt: skip
    for each in ours:
        requests, most = each.per_job("own"), _most_requests(each)
        lines.append(
            _verdict(
                f"at most {most:g} own requests for each job, {each.workload}: {requests:.2f}",
                met=requests <= most,
            )
        )
        if each.workload not in {BURST, GANG}:
            p99 = each.latency_ms(0.99)
            lines.append(
                _verdict(
                    f"p99 at most {MAX_P99_MS:g} ms, {each.workload}: {p99:.0f} ms",
                    met=p99 <= MAX_P99_MS,
                )
            )
    lines += _race(summaries)
    if (foreign := max(each.foreign_cores for each in summaries)) > _QUIET_CORES:
        lines.append(f"- disturbed: other processes kept up to {foreign:.1f} cores busy")
    return f"Run {run}:\n\n" + "\n".join(lines) + "\n"


def _race(summaries: Sequence[Summary]) -> list[str]:
    burst = {each.contestant: each for each in summaries if each.workload == BURST}
    ours, tuned, raw = (burst.get(each.name) for each in (OURS, JOB_TUNED, RAW))
    if ours is None or tuned is None:
        return []
    lines = [
        _verdict(
            f"faster than the tuned Job controller: {ours.rate:.1f} against {tuned.rate:.1f} "
            f"jobs/s, {ours.rate / tuned.rate:.2f} times",
            met=ours.rate > tuned.rate,
        )
    ]
    lines.append(
        f"- CPU of all controllers, API server and etcd for each job of the burst: "
        f"{ours.cpu_ms_per_job(*ours.all_processes):.1f} ms against {tuned.cpu_ms_per_job(*tuned.all_processes):.1f} ms"
    )
    if raw is not None and min(ours.rate, tuned.rate) > _AT_THE_CEILING * raw.rate:
        lines.append(
            f"- no race: both are at the ceiling of {raw.rate:.1f} jobs/s that pods without a "
            "controller reach"
        )
    return lines


def problems(summaries: Sequence[Summary]) -> list[str]:
    """Return the counts that exceed their limit, which does not depend on the machine's speed."""
    found = []
    for each in summaries:
        name = f"{each.contestant}, {each.workload}"
        if each.unfinished:
            found.append(f"{name}: {each.unfinished} of {each.jobs} jobs did not complete")
        if each.contestant != OURS.name:
            continue
        if each.duplicates:
            found.append(f"{name}: {each.duplicates} duplicate pods")
        used = each.total("own")
        allowed = _most_requests(each) * each.finished + each.long_runs
        if used > allowed:
            found.append(
                f"{name}: {used} own requests for {each.finished} jobs, of which {each.long_runs} "
                f"ran for long; at most {allowed:.0f} are allowed: "
                f"{dict(each.parts[0].requests.detail)}"
            )
    return found


def _most_requests(each: Summary) -> float:
    return MAX_GANG_REQUESTS if each.ranks > 1 else MAX_REQUESTS


def _verdict(text: str, *, met: bool) -> str:
    return f"- {'met' if met else 'NOT met'}: {text}"


def _is(summary: Summary, contestant: str, workload: str) -> bool:
    return (summary.contestant, summary.workload) == (contestant, workload)


def _row(each: Summary, ceiling: float) -> list[str]:
    rates, rss = each.rates, each.rss_mb
    share = each.rate / ceiling if each.workload == BURST else math.nan
    charged = each.contestant != RAW.name
    return [
        each.contestant,
        f"{each.jobs}",
        f"{each.rate:.1f} ({rates[0]:.1f}-{rates[-1]:.1f})",
        "-" if math.isnan(share) else f"{share:.0%}",
        f"{each.per_job('own'):.2f}" if charged else "-",
        f"{each.per_job('events'):.2f}" if charged else "-",
        f"{each.total('reads')}" if charged else "-",
        f"{each.total('leases')}" if charged else "-",
        f"{each.total('deletion')}" if charged else "-",
        f"{each.latency_ms(0.5):.0f}" if charged else "-",
        f"{each.latency_ms(0.99):.0f}" if charged else "-",
        "-" if rss is None else f"{rss[0]:.0f}/{rss[1]:.0f}",
        f"{each.cpu_ms_per_job(*each.controllers):.1f}" if charged else "-",
        f"{each.cpu_ms_per_job(*SERVER):.1f}",
        f"{each.foreign_cores:.2f}",
        f"{each.duplicates}",
        f"{each.unfinished}",
    ]


def _table(rows: list[list[str]]) -> str:
    lines = [list(_COLUMNS), ["---"] * len(_COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
