"""The console's own metrics. Label values come from small fixed sets: no uid, namespace or user."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

_METHODS: Final = frozenset({"GET", "POST"})
_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


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
            "Time from a request to its answer.",
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
        """Export the size and the limit of an in-memory structure: `..._STRUCTURE` and `..._STRUCTURE_limit`."""
        name = f"trainingjob_console_{structure}"
        words = structure.replace("_", " ").capitalize()
        Gauge(name, f"{words} in use.", registry=self.registry).set_function(used)
        Gauge(f"{name}_limit", f"{words} at most.", registry=self.registry).set_function(limit)

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
