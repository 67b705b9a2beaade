"""Defines the metrics of the record service. Label values are fixed sets: no uid, no namespace."""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from trainingjob_records.batching import BatchWriter
from trainingjob_records.disk_space import Usage
from trainingjob_records.writes import Result
from trainingjob_web.connections import Connections

_METHODS: Final = frozenset({"GET", "PUT"})
_BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The metrics of one service, in a registry of its own: two in one process share no numbers."""

    def __init__(self, writer: BatchWriter, connections: Connections, usage: Usage) -> None:
        self._registry: Final = CollectorRegistry()
        self._requests: Final = Counter(
            "trainingjob_records_http_requests",
            "HTTP requests answered.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds: Final = Histogram(
            "trainingjob_records_http_request_seconds",
            "Time from a request to the end of its response.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._results: Final = Counter(
            "trainingjob_records_records",
            "Records received, by result.",
            ["result"],
            registry=self._registry,
        )
        for result in Result:
            self._results.labels(result.value)
        self._batches: Final = Histogram(
            "trainingjob_records_commit_records",
            "Records in one commit.",
            buckets=_BATCH_SIZES,
            registry=self._registry,
        )
        self._commits: Final = Histogram(
            "trainingjob_records_commit_seconds",
            "Duration of a commit.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        used = {
            "trainingjob_records_queue_records": (
                "Records that wait for a commit.",
                lambda: writer.waiting,
            ),
            "trainingjob_records_queue_bytes": (
                "Bytes that wait for a commit.",
                lambda: writer.waiting_bytes,
            ),
            "trainingjob_records_queue_limit_records": (
                "Limit of records that wait for a commit.",
                lambda: writer.max_records,
            ),
            "trainingjob_records_queue_limit_bytes": (
                "Limit of bytes that wait for a commit.",
                lambda: writer.max_bytes,
            ),
            "trainingjob_records_connections": (
                "Open HTTP connections.",
                lambda: len(connections),
            ),
            "trainingjob_records_connections_limit": (
                "Limit of open HTTP connections; at the limit, one is closed for each new one.",
                lambda: connections.limit,
            ),
            "trainingjob_records_database_up": (
                "1 while the database answers; each request to /readyz checks it.",
                lambda: int(usage.is_reachable),
            ),
            "trainingjob_records_database_used_bytes": (
                "Bytes that the records use.",
                lambda: _measured(usage, "used"),
            ),
            "trainingjob_records_database_free_bytes": (
                "Free bytes for records; not known for PostgreSQL.",
                lambda: _measured(usage, "free"),
            ),
            "trainingjob_records_database_limit_bytes": (
                "Limit of the records' size in bytes, above which the oldest are removed; 0: no limit.",
                lambda: usage.limit or 0,
            ),
            "trainingjob_records_database_full": (
                "1 while the database is full: no record is accepted.",
                lambda: int(usage.is_full),
            ),
        }
        for name, (text, value) in used.items():
            Gauge(name, text, registry=self._registry).set_function(value)
        for family, text, label, counts in (
            (
                "trainingjob_records_connections_closed",
                "HTTP connections that the service closed, by reason.",
                "reason",
                connections.closed,
            ),
            (
                "trainingjob_records_records_removed",
                "Records removed by retention, by the limit that was exceeded: age or size.",
                "limit",
                usage.removed,
            ),
        ):
            self._registry.register(_Counted(family, text, label, counts))

    def count_answer(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request with a response. `route` is the pattern that matched, never the path."""
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_result(self, result: Result) -> None:
        """Count a PUT by its result."""
        self._results.labels(result.value).inc()

    def count_commit(self, records: int, seconds: float) -> None:
        """Count a committed batch."""
        self._batches.observe(records)
        self._commits.observe(seconds)

    def render(self) -> bytes:
        """Return the metrics in the text format of Prometheus."""
        return generate_latest(self._registry)


class _Counted(Collector):
    """Exports counts that another object keeps, read at each scrape."""

    def __init__(self, name: str, text: str, label: str, counts: Mapping[str, int]) -> None:
        self._about: Final = (name, text, None, [label])
        self._counts: Final = counts

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Yield one sample for each value of the label."""
        name, text, value, labels = self._about
        family = CounterMetricFamily(name, text, value, labels)
        for label, count in self._counts.items():
            family.add_metric([label], count)
        yield family


def _measured(usage: Usage, name: str) -> float:
    value = getattr(usage.space, name, None)
    return float("nan") if value is None else float(value)
