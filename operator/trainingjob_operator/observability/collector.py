"""Collects the counters and gauges of the operator's components when `/metrics` is scraped.

The components keep their own numbers and do not know Prometheus. Every structure that grows with use
is exported with its use and its limit, so that the promise of bounded memory can be monitored.
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
"""Label of a job that has no phase yet, because its first pass is still to come."""


class OperatorCollector(Collector):
    """A Prometheus collector that reads the operator's components."""

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
            engine: the components of the operator.
            requests: the counts of requests to the API server.
            memories: the objects that kopf keeps in memory.
            web: the server of the probes and metrics.
            leads: returns True while this process is the leader.
            is_ready: returns True while `/readyz` returns ok.
            secure: the server of the metrics over TLS; None: there is none.
        """
        self._leads: Final = leads
        self._is_ready: Final = is_ready
        self._secure: Final = secure
        self._engine: Final = engine
        self._requests: Final = requests
        self._memories: Final = memories
        self._web: Final = web

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics. Called on the event loop, so nothing changes meanwhile."""
        yield _gauge(
            "build_info", "Always 1; the label is the version.", {(__version__,): 1}, "version"
        )
        yield _gauge(
            "leader",
            "1: this process is the leader; 0: it is a standby. Always 1 without leader election.",
            int(self._leads()),
        )
        yield _gauge(
            "ready",
            "1 while /readyz returns ok: the index is complete, or this process is a standby.",
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
            "Entries (or bytes) used of a structure in memory, by structure.",
            {(each.name,): float(each.used) for each in bounds},
            "structure",
        )
        yield _gauge(
            "bounded_limit",
            "Limit of entries (or bytes) of a structure in memory, by structure.",
            {(each.name,): float(each.limit) for each in bounds},
            "structure",
        )
        yield _gauge(
            "kopf_memories",
            "Objects that kopf keeps in memory: RetentionPolicies, at most one in each namespace.",
            len(self._memories),
        )
        yield _counter(
            "web_connections_closed",
            "Connections to this port closed at the limit, to accept a new one.",
            self._web.connections.closed_total,
        )
        yield _gauge("tasks", "Tasks of the event loop.", len(asyncio.all_tasks()))

    def _memory(self) -> Iterable[Metric]:
        pressure, index = self._engine.pressure, self._engine.index
        if (use := pressure.use) is not None:
            yield _gauge(
                "memory_used_bytes",
                "Memory in use, without what the kernel reclaims first: inactive page cache and reclaimable slab.",
                use.used,
            )
            yield _gauge(
                "memory_limit_bytes",
                "Memory limit of the cgroup; without one, the node's memory, and then the used memory is the node's.",
                use.limit,
            )
        yield _gauge("memory_pressure", "1 under memory pressure, else 0.", int(pressure.is_on))
        yield _counter(
            "memory_pressure_changes",
            "Times that memory pressure began or ended.",
            {("begun",): pressure.begun_total, ("ended",): pressure.ended_total},
            "change",
        )
        yield _gauge(
            "index_retention_seconds",
            "How long a finished or settled suspended job is kept in the index; shorter under memory pressure.",
            pressure.retention_s(),
        )
        yield _counter(
            "gc_memory_entries_freed",
            "Finished and settled suspended jobs removed from the index, by reason: age, or memory "
            "pressure before that.",
            {
                ("age",): index.forgotten_total - pressure.forgotten_total,
                ("pressure",): pressure.forgotten_total,
            },
            "reason",
        )

    def _housekeeping(self) -> Iterable[Metric]:
        keeper, guard, remover = self._engine.housekeeper, self._engine.guard, self._engine.remover
        yield _counter("gc_runs", "Retention runs, of all policies together.", keeper.runs_total)
        yield _counter(
            "gc_overruns",
            "Retention runs that took longer than the interval; the next one was skipped.",
            keeper.overruns_total,
        )
        yield _gauge(
            "gc_interval_seconds",
            "Configured time between two retention runs.",
            keeper.interval_s,
        )
        yield _counter(
            "gc_holds",
            "Times that retention paused, by cause: the wall clock jumped by more than an hour, or "
            "the process was frozen for more than a minute.",
            {("ClockStepped",): guard.leaps_total, ("StoodStill",): guard.standstills_total},
            "cause",
        )
        yield _counter(
            "gc_objects_deleted",
            "Finished jobs deleted from the cluster, at their time or by a sweep, by reason.",
            {(reason,): count for reason, count in remover.removed_total.items()},
            "reason",
        )
        yield _counter(
            "gc_delete_errors",
            "Failed attempts to delete a finished job, at its time or by a sweep.",
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
            "Jobs in the index, by phase. Finished jobs and settled suspended jobs are removed from it after a time.",
            {(p,): n for p, n in phases.items()},
            "phase",
        )
        yield _gauge("index_pods", "Pods of all jobs in the index.", pods)
        yield _counter(
            "index_evicted",
            "Finished and settled suspended jobs evicted from the index early, because live jobs needed the entries.",
            index.evicted_total,
        )
        yield _counter(
            "index_refused",
            "Times that a job had to wait because the index was full.",
            index.refused_total,
        )
        yield _counter(
            "index_phantoms",
            "Jobs in the index that a complete list did not contain: a watch had missed their deletion.",
            self._engine.resync.phantoms_total,
        )

    def _work(self) -> Iterable[Metric]:
        engine = self._engine
        yield _counter("reconciles", "Passes over jobs.", engine.workers.passes_total)
        yield _counter(
            "reconcile_errors",
            "Passes that failed and are retried.",
            engine.workers.failures_total,
        )
        yield _counter(
            "resyncs",
            "Resyncs: comparisons of the index with complete lists.",
            engine.resync.runs_total,
        )
        yield _gauge(
            "lists_forbidden",
            "Lists that the API server forbids us now, because a Role is missing in the namespace.",
            len(engine.resync.forbidden_lists),
        )
        yield _gauge(
            "work_queue_depth",
            "Keys that are due and not yet being processed.",
            engine.queue.depth,
        )
        yield _counter(
            "work_queue_adds",
            "Keys added to the work queue; several additions of a key can result in one pass.",
            engine.queue.adds_total,
        )
        yield _counter(
            "work_queue_refused",
            "Keys refused because the work queue was full; the resync adds them again.",
            engine.queue.refused_total,
        )
        yield _counter(
            "api_requests",
            "Requests to the API server, by verb and class of the status code; none: no response.",
            self._requests.by_verb_and_code,
            "verb",
            "code",
        )
        yield _counter(
            "events_recorded", "Kubernetes Events queued.", engine.events.recorded_total
        )
        yield _counter(
            "events_dropped",
            "Kubernetes Events dropped: the queue was full, or the API server refused them.",
            engine.events.dropped_total,
        )

    def _records(self) -> Iterable[Metric]:
        yield _counter(
            "records_abandoned",
            "Jobs released without a stored record; the operator's log has the record's content.",
            self._engine.reconciler.abandoned_total,
        )
        delivery = self._engine.delivery
        if delivery is None:
            return
        outbox = delivery.outbox
        yield _counter("records_stored", "Records stored.", outbox.stored_total)
        yield _counter(
            "records_rejected", "Records that the endpoint rejected.", outbox.rejected_total
        )
        yield _counter(
            "record_failures", "Failed attempts to send a record.", outbox.failures_total
        )
        yield _counter(
            "retry_cache_evicted",
            "Keys evicted from the retry cache by newer ones; the refill finds them again.",
            delivery.cache.evicted_total,
        )
        yield _counter(
            "refills",
            "Searches of the cluster for jobs whose records wait and are not in memory.",
            delivery.refill.runs_total,
        )
        yield _gauge(
            "record_endpoint_down",
            "1 while the circuit breaker is open: the record endpoint counts as down, with one try "
            f"every {PROBE_EVERY_S:g} s.",
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
