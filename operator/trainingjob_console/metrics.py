"""The console's own metrics. Label values come from small fixed sets: no uid, namespace or user."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

_METHODS: Final = frozenset({"GET", "POST"})
_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

BOUNDED: Final = {
    "archive_reads": "Reads of archived logs that run or wait",
    "connections": "Open connections of clients",
    "first_errors": "Archived logs whose first error is cached",
    "handshakes": "TLS handshakes in progress",
    "history_calls": "Calls of the record service that run or wait",
    "job_reads": "Reads of single jobs for the job page that run or wait",
    "jobs": "Jobs in the index",
    "jobs_bytes": "Memory of the jobs in the index in bytes",
    "large_answers": "Large responses of the API server that are read or wait to be read",
    "live_reads": "Reads of live logs (windows, searches, downloads) that run or wait",
    "log_streams": "Live logs that are followed on the API server",
    "long_works": "CPU-bound work (lists of jobs, subscriptions) that runs or waits",
    "owners": "Tokens whose users are cached",
    "queued_bytes": "Bytes that wait to be sent in the queues of all WebSockets",
    "refused_rights": "Denied permissions in the cache",
    "rights": "Granted permissions in the cache",
    "running_requests": "HTTP requests in progress",
    "samples": "Samples of the operators' metrics in memory",
    "sockets": "Open WebSockets",
    "sweeps": "Retention runs in memory",
    "token_checks": "Reviews of uncached tokens that run or wait",
    "unknown_tokens": "Rejected tokens in the cache",
}
"""The help text of each in-memory structure with a limit, by the name of its metric."""


class Metrics:
    """The metrics of one console, in a separate registry, so that two consoles in a process do not share them."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        self._requests: Final = Counter(
            "trainingjob_console_http_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._seconds: Final = Histogram(
            "trainingjob_console_http_request_seconds",
            "Time from a request to its response.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )

    def count_answer(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a response. `route` is the matched route pattern, never the path."""
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def watch_bound(
        self, structure: str, used: Callable[[], float], limit: Callable[[], float]
    ) -> None:
        """Export the size and the limit of a structure of `BOUNDED`: `..._STRUCTURE` and `..._STRUCTURE_limit`."""
        name = f"trainingjob_console_{structure}"
        words = BOUNDED[structure]
        Gauge(name, f"{words}.", registry=self.registry).set_function(used)
        Gauge(f"{name}_limit", f"Limit of `{name}`.", registry=self.registry).set_function(limit)

    def watch_count(self, name: str, help_text: str, counted: Callable[[], float]) -> None:
        """Export a count that is kept elsewhere: `..._NAME_total`, with a help text."""
        self.registry.register(_Counted(name, help_text, lambda: {(): counted()}))

    def watch_reasons(
        self, name: str, help_text: str, reasons: Iterable[str], counted: Mapping[str, float]
    ) -> None:
        """Export counts by reason that are kept elsewhere: `..._NAME_total{reason}`."""
        known = tuple(reasons)
        self.registry.register(
            _Counted(
                name,
                help_text,
                lambda: {(each,): counted.get(each, 0) for each in known},
                "reason",
            )
        )

    def render(self) -> bytes:
        """Return the metrics in the text format of Prometheus."""
        return generate_latest(self.registry)


class _Counted(Collector):
    """A counter metric whose values are kept elsewhere."""

    def __init__(
        self,
        name: str,
        help_text: str,
        counted: Callable[[], Mapping[tuple[str, ...], float]],
        *labels: str,
    ) -> None:
        self._name: Final = f"trainingjob_console_{name}"
        self._help: Final = help_text
        self._counted: Final = counted
        self._labels: Final = labels

    def collect(self) -> Iterable[Metric]:
        """Return the current values of the counter."""
        family = CounterMetricFamily(self._name, self._help, labels=self._labels)
        for values, number in self._counted().items():
            family.add_metric(values, number)
        yield family
