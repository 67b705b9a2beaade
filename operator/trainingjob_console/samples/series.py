"""The series of the housekeeping page, computed from the metrics of an operator."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

PREFIX: Final = "trainingjob_operator_"
Labels = tuple[tuple[str, str], ...]
Scrape = Mapping[str, Mapping[Labels, float]]
"""The values of one operator, by name without the prefix and by labels."""

_MAX_SAMPLES: Final = 5_000
_FINISHED: Final = frozenset({"Succeeded", "Failed", "Cancelled"})


def parse(text: str) -> Scrape:
    """Parse the operator's own metrics from a scrape; at most 5,000 samples are read.

    Raises:
        ValueError: it is not in the Prometheus text format.
    """
    found: dict[str, dict[Labels, float]] = {}
    seen = 0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            seen += 1
            if seen > _MAX_SAMPLES:
                return found
            if sample.name.startswith(PREFIX):
                name = sample.name.removeprefix(PREFIX)
                found.setdefault(name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def total(scrape: Scrape, name: str, **labels: str) -> float | None:
    """Return the sum of a metric's values with these labels; None: there are none."""
    wanted = set(labels.items())
    values = [value for key, value in scrape.get(name, {}).items() if wanted <= set(key)]
    return sum(values) if values else None


def _used(structure: str) -> Callable[[Scrape], float | None]:
    return lambda scrape: total(scrape, "bounded_used", structure=structure)


def _limit(structure: str) -> Callable[[Scrape], float | None]:
    return lambda scrape: total(scrape, "bounded_limit", structure=structure)


def _metric(name: str) -> Callable[[Scrape], float | None]:
    return lambda scrape: total(scrape, name)


def _jobs(scrape: Scrape, *, finished: bool) -> float | None:
    phases = scrape.get("jobs", {})
    values = [n for key, n in phases.items() if (dict(key).get("phase") in _FINISHED) == finished]
    return sum(values) if phases else None


def _volume_used(scrape: Scrape) -> float | None:
    size, free = total(scrape, "volume_size_bytes"), total(scrape, "volume_free_bytes")
    return None if size is None or free is None else size - free


def _removed(scrape: Scrape) -> float | None:
    names = ("gc_objects_deleted_total", "gc_files_removed_total", "gc_directories_removed_total")
    values = [value for name in names if (value := total(scrape, name)) is not None]
    return sum(values) if values else None


SERIES: Final[Mapping[str, tuple[str, Callable[[Scrape], float | None]]]] = {
    "jobsInMemory": ("jobs", _used("index")),
    "jobsActive": ("jobs", lambda scrape: _jobs(scrape, finished=False)),
    "jobsFinished": ("jobs", lambda scrape: _jobs(scrape, finished=True)),
    "pods": ("pods", _metric("index_pods")),
    "memoryBytes": ("bytes", _metric("memory_used_bytes")),
    "pressure": ("level", _metric("memory_pressure")),
    "queueLength": ("keys", _metric("work_queue_depth")),
    "recordsWaiting": ("records", _used("retry_cache")),
    "logVolumeUsedBytes": ("bytes", _volume_used),
    "sweepRemoved": ("removed", _removed),
    "sweepKept": ("kept", _metric("gc_skipped_total")),
    "logsWaiting": ("pods", _used("log_queue")),
}
"""By name: the unit, and the value of one operator. `sweepRemoved` and `sweepKept` count since its start."""

LIMITS: Final[Mapping[str, Callable[[Scrape], float | None]]] = {
    "jobsInMemory": _limit("index"),
    "pods": _limit("pods"),
    "memoryBytes": _metric("memory_limit_bytes"),
    "queueLength": _limit("work_queue"),
    "recordsWaiting": _limit("retry_cache"),
    "logVolumeUsedBytes": _metric("volume_size_bytes"),
    "logsWaiting": _limit("log_queue"),
}


def leader_scrape(scrapes: Iterable[Scrape]) -> Scrape:
    """Return the scrape of the leader, or any scrape if there is no leader."""
    found = sorted(scrapes, key=lambda scrape: total(scrape, "leader") or 0.0)
    return found[-1] if found else {}
