"""The metrics. Labels have few values, all of them ours: no uid, no namespace, no user."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_METHODS: Final = frozenset({"GET", "POST"})
_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The metrics of one console, in a registry of its own: two in one process share no numbers."""

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
        """Count an answered request. `route` is the pattern that matched, never the path."""
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def watch_bound(
        self, structure: str, used: Callable[[], float], limit: Callable[[], float]
    ) -> None:
        """Show how full a structure in memory is: `..._STRUCTURE` and `..._STRUCTURE_limit`."""
        name = f"trainingjob_console_{structure}"
        words = structure.replace("_", " ")
        Gauge(name, f"In use of {words}.", registry=self.registry).set_function(used)
        Gauge(f"{name}_limit", f"Limit of {words}.", registry=self.registry).set_function(limit)

    def render(self) -> bytes:
        """Return the metrics in the text format of Prometheus."""
        return generate_latest(self.registry)
