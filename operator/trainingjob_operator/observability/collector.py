"""What the operator's parts know of themselves, read when somebody asks for `/metrics`.

The parts count for their own sake, and know nothing of metrics. Every structure that grows with
use is here with how much of it is used and what its limit is: that is how the promise that memory
stays bounded can be watched.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, get_args

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from trainingjob_api.training_job_status import Phase
from trainingjob_operator import __version__
from trainingjob_operator.engine import Engine
from trainingjob_operator.handlers.kopf_runner import CountedMemories
from trainingjob_operator.kube.request_counts import RequestCounts
from trainingjob_operator.observability.metrics import PREFIX
from trainingjob_operator.observability.probes import WebServer
from trainingjob_operator.observability.secure_metrics import SecureMetrics
from trainingjob_operator.records.circuit_breaker import PROBE_EVERY_S

_PHASES: Final[tuple[str, ...]] = get_args(Phase)
_NEW: Final = "New"
"""A job whose first pass is still to come has no phase yet."""


class OperatorCollector(Collector):
    """Reads them; to be registered with the registry of the metrics."""

    def __init__(
        self,
        engine: Engine,
        requests: RequestCounts,
        memories: CountedMemories,
        web: WebServer,
        *,
        leads: Callable[[], bool] = lambda: True,
        is_ready: Callable[[], bool] = lambda: True,
        secure: SecureMetrics | None = None,
    ) -> None:
        """Prepare to read.

        Args:
            engine: the parts of the operator.
            requests: those of the API server, counted.
            memories: what kopf remembers.
            web: the server that answers.
            leads: True while this process may work.
            is_ready: True while `/readyz` says so.
            secure: the server of these metrics over TLS; None: there is none.
        """
        self._leads: Final = leads
        self._is_ready: Final = is_ready
        self._secure: Final = secure
        self._engine: Final = engine
        self._requests: Final = requests
        self._memories: Final = memories
        self._web: Final = web

    def collect(self) -> Iterator[Metric]:
        """Everything, as it is now. Called from the event loop, which nothing else runs on then."""
        yield _gauge(
            "build_info", "Always 1; the label has the version.", {(__version__,): 1}, "version"
        )
        yield _gauge(
            "leader",
            "1: this process works; 0: it is a standby. Always 1 without leader election.",
            int(self._leads()),
        )
        yield _gauge(
            "ready",
            "1 while /readyz says ok: the picture of the cluster is complete, or this is a standby.",
            int(self._is_ready()),
        )
        yield from self._bounds()
        yield from self._memory()
        yield from self._housekeeping()
        yield from self._jobs()
        yield from self._work()
        yield from self._records()

    def _bounds(self) -> Iterable[Metric]:
        secure = self._secure.bounds if self._secure is not None else ()
        bounds = (*self._engine.bounded, *self._web.connections.bounds, *secure)
        yield _gauge(
            "bounded_used",
            "How much of a structure in memory is used, by structure.",
            {(each.name,): float(each.used) for each in bounds},
            "structure",
        )
        yield _gauge(
            "bounded_limit",
            "The most that a structure in memory holds, by structure.",
            {(each.name,): float(each.limit) for each in bounds},
            "structure",
        )
        yield _gauge(
            "kopf_memories",
            "Objects that kopf remembers: RetentionPolicies, of which a namespace has one at most.",
            len(self._memories),
        )
        yield _counter(
            "web_connections_closed",
            "Connections to this port that were closed to make room for another one.",
            self._web.connections.closed_total,
        )
        yield _gauge("tasks", "Tasks of the event loop.", len(asyncio.all_tasks()))

    def _memory(self) -> Iterable[Metric]:
        pressure, index = self._engine.pressure, self._engine.index
        if (use := pressure.use) is not None:
            yield _gauge(
                "memory_used_bytes",
                "Memory that is used, without what the kernel would give up first.",
                use.used,
            )
            yield _gauge(
                "memory_limit_bytes",
                "The cgroup's limit; without one, the node's memory, which then is the one used.",
                use.limit,
            )
        yield _gauge("memory_pressure", "1 while memory is short.", int(pressure.is_on))
        yield _counter(
            "memory_pressure_changes",
            "Times that memory pressure began and ended.",
            {("begun",): pressure.begun_total, ("ended",): pressure.ended_total},
            "change",
        )
        yield _gauge(
            "index_retention_seconds",
            "For how long a finished or settled suspended job stays in memory; less under pressure.",
            pressure.retention_s(),
        )
        yield _counter(
            "gc_memory_entries_freed",
            "Finished and settled suspended jobs that left the index, by reason: of age, or sooner "
            "because of pressure.",
            {
                ("age",): index.forgotten_total - pressure.forgotten_total,
                ("pressure",): pressure.forgotten_total,
            },
            "reason",
        )

    def _housekeeping(self) -> Iterable[Metric]:
        keeper, guard, remover = self._engine.housekeeper, self._engine.guard, self._engine.remover
        yield _counter("gc_runs", "Runs of the housekeeping, of all policies.", keeper.runs_total)
        yield _counter(
            "gc_overruns",
            "Runs that took longer than the interval; the next one was skipped.",
            keeper.overruns_total,
        )
        yield _gauge(
            "gc_interval_seconds",
            "Time between two runs of the housekeeping, as it is set.",
            keeper.interval_s,
        )
        yield _counter(
            "gc_holds",
            "Times that nothing was removed for a while, by cause: the wall clock was set by more "
            "than an hour, or the process stood still for more than a minute.",
            {("ClockStepped",): guard.leaps_total, ("StoodStill",): guard.standstills_total},
            "cause",
        )
        yield _counter(
            "gc_objects_deleted",
            "Finished jobs that were deleted from the cluster, on time or by a sweep, by reason.",
            {(reason,): count for reason, count in remover.removed_total.items()},
            "reason",
        )
        yield _counter(
            "gc_delete_errors",
            "Tries to delete a finished job, on time or by a sweep, that came to nothing.",
            remover.errors_total,
        )

    def _jobs(self) -> Iterable[Metric]:
        index = self._engine.index
        phases: Counter[str] = Counter(dict.fromkeys((_NEW, *_PHASES), 0))
        pods = 0
        for entry in index:
            phase = entry.job.status.phase or _NEW
            phases[phase if phase in phases else "Other"] += 1
            pods += len(entry.pods)
        yield _gauge(
            "jobs",
            "Jobs in the index, by phase; suspended ones that are settled leave it, as finished ones do.",
            {(p,): n for p, n in phases.items()},
            "phase",
        )
        yield _gauge("index_pods", "Pods in the index, of all its jobs.", pods)
        yield _counter(
            "index_evicted",
            "Finished and settled suspended jobs that left the index early, to make room for live ones.",
            index.evicted_total,
        )
        yield _counter(
            "index_refused",
            "Times that a job found no room in the index and had to wait.",
            index.refused_total,
        )
        yield _counter(
            "index_phantoms",
            "Jobs in the index that a complete list did not have: a watch had missed their end.",
            self._engine.resync.phantoms_total,
        )

    def _work(self) -> Iterable[Metric]:
        engine = self._engine
        yield _counter("reconciles", "Passes over jobs.", engine.workers.passes_total)
        yield _counter(
            "reconcile_errors",
            "Passes that failed, and are made again later.",
            engine.workers.failures_total,
        )
        yield _counter("resyncs", "Comparisons with complete lists.", engine.resync.runs_total)
        yield _gauge(
            "lists_forbidden",
            "Lists of a namespace that our account may not read now: a Role is missing there.",
            len(engine.resync.forbidden_lists),
        )
        yield _gauge(
            "work_queue_depth", "Keys that are due and not yet in work.", engine.queue.depth
        )
        yield _counter(
            "work_queue_adds",
            "News for the work queue; many become one pass.",
            engine.queue.adds_total,
        )
        yield _counter(
            "work_queue_refused",
            "Keys for which the work queue had no room; the resync brings them again.",
            engine.queue.refused_total,
        )
        yield _counter(
            "api_requests",
            "Requests of the API server, by verb and class of the answer's code; none: no answer.",
            self._requests.by_verb_and_code,
            "verb",
            "code",
        )
        yield _counter("events_recorded", "Events to be sent.", engine.events.recorded_total)
        yield _counter(
            "events_dropped",
            "Events that found no room to wait, or that the API server did not take.",
            engine.events.dropped_total,
        )

    def _records(self) -> Iterable[Metric]:
        yield _counter(
            "records_abandoned",
            "Jobs that were let go without a stored record; the log has what is known of them.",
            self._engine.reconciler.abandoned_total,
        )
        delivery = self._engine.delivery
        if delivery is None:
            return
        outbox = delivery.outbox
        yield _counter("records_stored", "Records stored.", outbox.stored_total)
        yield _counter(
            "records_rejected", "Records that the endpoint did not take.", outbox.rejected_total
        )
        yield _counter(
            "record_failures", "Tries of a record that came to nothing.", outbox.failures_total
        )
        yield _counter(
            "retry_cache_evicted",
            "Keys that made room for younger ones; the refill finds them again.",
            delivery.cache.evicted_total,
        )
        yield _counter(
            "refills", "Times that waiting records were looked for.", delivery.refill.runs_total
        )
        yield _gauge(
            "record_endpoint_down",
            f"1 while the record endpoint is taken to be down and asked once in {PROBE_EVERY_S:g} s.",
            int(outbox.endpoint_is_down),
        )


def _gauge(
    name: str, text: str, value: float | Mapping[tuple[str, ...], float], *labels: str
) -> Metric:
    return _filled(GaugeMetricFamily(PREFIX + name, text, labels=labels), value)


def _counter(
    name: str, text: str, value: float | Mapping[tuple[str, ...], float], *labels: str
) -> Metric:
    return _filled(CounterMetricFamily(PREFIX + name, text, labels=labels), value)


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily,
    value: float | Mapping[tuple[str, ...], float],
) -> Metric:
    values = value if isinstance(value, Mapping) else {(): value}
    for labels, number in values.items():
        family.add_metric(labels, number)
    return family
