"""Aggregates repetitions: medians, and percentiles over all jobs."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from hack.bench.contestants import MANAGER
from hack.bench.measure import Measurement

SERVER: Final = ("api-server", "etcd")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that this share of the values does not exceed; NaN if there are none."""
    if not values:
        return math.nan
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


@dataclass(frozen=True)
class Summary:
    """All repetitions of one contestant with one workload."""

    parts: list[Measurement]

    @property
    def contestant(self) -> str:
        """Return the contestant."""
        return self.parts[0].contestant

    @property
    def workload(self) -> str:
        """Return the workload."""
        return self.parts[0].workload

    @property
    def ranks(self) -> int:
        """Return the pods of each job."""
        return self.parts[0].ranks

    @property
    def controllers(self) -> tuple[str, ...]:
        """Return the names of the contestant's own processes."""
        return self.parts[0].controllers

    @property
    def all_processes(self) -> tuple[str, ...]:
        """Return the names of all processes that a cluster with this contestant needs for its jobs."""
        return tuple(dict.fromkeys((*self.controllers, MANAGER, *SERVER)))

    @property
    def rates(self) -> list[float]:
        """Return the jobs per second of each repetition, sorted."""
        return sorted(part.rate for part in self.parts)

    @property
    def rate(self) -> float:
        """Return the median of the jobs per second."""
        return statistics.median(self.rates)

    @property
    def jobs(self) -> int:
        """Return the number of jobs of all repetitions."""
        return sum(part.jobs for part in self.parts)

    @property
    def unfinished(self) -> int:
        """Return the number of jobs that did not finish, or did not succeed."""
        return self.jobs - sum(part.finished - part.failed for part in self.parts)

    @property
    def duplicates(self) -> int:
        """Return the number of pods beyond the ranks of their job."""
        return sum(part.duplicates for part in self.parts)

    @property
    def finished(self) -> int:
        """Return the number of finished jobs."""
        return sum(part.finished for part in self.parts)

    @property
    def long_runs(self) -> int:
        """Return the number of pods that ran long enough to be reported as Running."""
        return sum(part.long_runs for part in self.parts)

    @property
    def foreign_cores(self) -> float:
        """Return the maximum of cores that processes outside the benchmark kept busy."""
        return max(part.foreign_cores for part in self.parts)

    def per_job(self, field: str) -> float:
        """Return the requests of this kind for each finished job."""
        total = sum(getattr(part.requests, field) for part in self.parts)
        return float(total) / max(self.finished, 1)

    def total(self, field: str) -> int:
        """Return the number of requests of this kind."""
        return sum(getattr(part.requests, field) for part in self.parts)

    def latency_ms(self, share: float) -> float:
        """Return a latency percentile over the jobs of all repetitions, in milliseconds."""
        return percentile([ms for part in self.parts for ms in part.latencies_ms], share)

    @property
    def rss_mb(self) -> tuple[float, float] | None:
        """Return the medians of the resident memory at the start and at the end, in MiB."""
        known = [part.rss_mb for part in self.parts if part.rss_mb is not None]
        if not known:
            return None
        return (
            statistics.median(start for start, _ in known),
            statistics.median(end for _, end in known),
        )

    def cpu_ms_per_job(self, *processes: str) -> float:
        """Return the CPU time of these processes for each finished job, in milliseconds."""
        total = sum(part.cpu_s.get(name, 0.0) for part in self.parts for name in processes)
        return 1000 * total / max(self.finished, 1)

    def as_json(self) -> dict[str, Any]:
        """Return the summary as JSON-compatible values."""
        return {
            "contestant": self.contestant,
            "workload": self.workload,
            "jobs": self.jobs,
            "ranks": self.ranks,
            "controllers": list(self.controllers),
            "unfinished": self.unfinished,
            "duplicates": self.duplicates,
            "jobsPerSecond": self.rates,
            "requestsPerJob": {
                kind: self.per_job(kind)
                for kind in ("own", "events", "leases", "reads", "deletion", "refused")
            },
            "latencyMs": {name: self.latency_ms(s) for name, s in _SHARES.items()},
            "rssMiB": self.rss_mb,
            "cpuMsPerJob": {name: self.cpu_ms_per_job(name) for name in self.parts[0].cpu_s},
            "repetitions": [_repetition(part) for part in self.parts],
        }


_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


def _repetition(part: Measurement) -> dict[str, Any]:
    requests = part.requests
    return {
        "seconds": part.seconds,
        "podsSeconds": part.pods_seconds,
        "finished": part.finished,
        "failed": part.failed,
        "longRuns": part.long_runs,
        "foreignCores": part.foreign_cores,
        "latencyMs": {name: percentile(part.latencies_ms, s) for name, s in _SHARES.items()},
        "own": dict(requests.detail),
        "everybody": dict(requests.everybody),
        "cpuSeconds": part.cpu_s,
        "loadAverage": part.load,
    }


def summarise(measurements: list[Measurement]) -> list[Summary]:
    """Group repetitions by contestant and workload, in the order of their first appearance."""
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for each in measurements:
        groups.setdefault((each.workload, each.contestant), []).append(each)
    return [Summary(parts) for parts in groups.values()]
