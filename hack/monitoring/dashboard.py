"""The Grafana dashboard: jobs in memory and their limit, evictions, retention, records, the log volume.

`make generate` writes it to the chart as JSON for Grafana. Every metric named here is documented in
docs/metrics.md; a test evaluates every expression with a real Prometheus.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from string import ascii_uppercase
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    VariableRefresh,
)

from hack.monitoring.alert import P
from hack.monitoring.alerts import MEMORY_SHARE

UID: Final = "trainingjob-operator"
_DATASOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
_OURS: Final = 'job=~"$job"'
"""Part of every selector: the installs that the user has chosen."""
_FINISHED: Final = "Succeeded|Failed|Cancelled"
_WIDTH: Final = 24


@dataclass(frozen=True, slots=True)
class Graph:
    """One panel.

    Attributes:
        title: heading of the panel.
        description: how to read it.
        queries: PromQL by legend.
        unit: Grafana's name of the unit.
        width: columns, of 24.
        is_stacked: stack the series.
        is_number: show only the last value, as a number.
    """

    title: str
    description: str
    queries: dict[str, str]
    unit: str = "short"
    width: int = 12
    is_stacked: bool = False
    is_number: bool = False


def _metric(name: str, labels: str = "") -> str:
    return f"{P}{name}{{{', '.join(filter(None, (_OURS, labels)))}}}"


def _sum(name: str, labels: str = "") -> str:
    return f"sum({_metric(name, labels)})"


def _gained(name: str, by: str = "", labels: str = "") -> str:
    """Return PromQL for the increase of a counter between two points of the graph."""
    grouped = f" by ({by}) " if by else ""
    return f"sum{grouped}(increase({_metric(name, labels)}[$__rate_interval]))"


def _rate(name: str, by: str = "") -> str:
    grouped = f" by ({by}) " if by else ""
    return f"sum{grouped}(rate({_metric(name)}[$__rate_interval]))"


def _bound(name: str, structure: str) -> str:
    labels = f'structure="{structure}"'
    return f"max({_metric(name, labels)})"


def _quantile(share: float, name: str, by: str) -> str:
    buckets = f"rate({_metric(f'{name}_bucket')}[$__rate_interval])"
    return f"histogram_quantile({share}, sum by ({by}) ({buckets}))"


_NOW: Final = (
    Graph(
        "Leader",
        "Operators that are the leader. It should be 1.",
        {"": _sum("leader")},
        width=4,
        is_number=True,
    ),
    Graph(
        "Ready",
        "Operators that are ready, standbys included.",
        {"": _sum("ready")},
        width=4,
        is_number=True,
    ),
    Graph(
        "Jobs in memory",
        "Of the leader. Finished and settled suspended jobs are evicted after a while.",
        {"": _bound("bounded_used", "index")},
        width=4,
        is_number=True,
    ),
    Graph(
        "Memory used",
        "Share of the limit, of the operator that uses the most.",
        {"": f"max({_metric('memory_used_bytes')} / {_metric('memory_limit_bytes')})"},
        unit="percentunit",
        width=4,
        is_number=True,
    ),
    Graph(
        "Records waiting",
        "Jobs whose records are not stored yet and whose keys are in memory.",
        {"": _bound("bounded_used", "retry_cache")},
        width=4,
        is_number=True,
    ),
    Graph(
        "Log volume free",
        "When it was last swept.",
        {"": f"min({_metric('volume_free_bytes')} / {_metric('volume_size_bytes')})"},
        unit="percentunit",
        width=4,
        is_number=True,
    ),
)

_MEMORY: Final = (
    Graph(
        "Jobs in memory",
        "Never above the limit. At the limit finished jobs are evicted first; then new ones wait.",
        {
            "jobs": _bound("bounded_used", "index"),
            "limit": _bound("bounded_limit", "index"),
        },
    ),
    Graph(
        "Active and finished jobs in memory",
        "Active jobs are the load; finished ones are evicted.",
        {
            "active": _sum("jobs", f'phase!~"{_FINISHED}"'),
            "finished": _sum("jobs", f'phase=~"{_FINISHED}"'),
        },
        is_stacked=True,
    ),
    Graph(
        "Memory",
        f"The alert fires above {MEMORY_SHARE:.0%} of the limit.",
        {
            "{{pod}} {{instance}}": _metric("memory_used_bytes"),
            "limit": f"max({_metric('memory_limit_bytes')})",
            "alert": f"{MEMORY_SHARE} * max({_metric('memory_limit_bytes')})",
        },
        unit="bytes",
    ),
    Graph(
        "Time that a finished job stays in memory",
        "It is shorter under memory pressure.",
        {
            "stays": f"max({_metric('index_retention_seconds')})",
        },
        unit="s",
        width=6,
    ),
    Graph(
        "Memory pressure",
        "1 while memory is short.",
        {"pressure": f"max({_metric('memory_pressure')})"},
        width=6,
    ),
    Graph(
        "Jobs removed from memory",
        "By age, or sooner because of pressure; evicted: to make room for live ones.",
        {
            "{{reason}}": _gained("gc_memory_entries_freed_total", "reason"),
            "evicted": _gained("index_evicted_total"),
        },
        is_stacked=True,
    ),
    Graph(
        "Used share of each limit in memory",
        "1 is the limit. Caches are always full once they have been; see docs/metrics.md.",
        {
            "{{structure}}": (
                f"max by (structure) ({_metric('bounded_used')} / {_metric('bounded_limit')})"
            )
        },
        unit="percentunit",
    ),
)

_HOUSEKEEPING: Final = (
    Graph(
        "Finished jobs deleted from the cluster",
        "By reason, and the attempts that failed.",
        {
            "{{reason}}": _gained("gc_objects_deleted_total", "reason"),
            "failed": _gained("gc_delete_errors_total"),
        },
        is_stacked=True,
    ),
    Graph(
        "Time since the last sweep without an error",
        "Of the leader.",
        {
            "{{sweep}}": (
                f"time() - max by (sweep) ({_metric('gc_last_success_timestamp_seconds')} > 0)"
            ),
            "interval": f"max({_metric('gc_interval_seconds')})",
        },
        unit="s",
    ),
    Graph(
        "Files and directories removed from the log volume",
        "Old files that no job owns.",
        {
            "files": _gained("gc_files_removed_total"),
            "directories": _gained("gc_directories_removed_total"),
        },
        is_stacked=True,
    ),
    Graph(
        "Bytes freed on the log volume",
        "By the sweeps.",
        {"freed": _gained("gc_freed_bytes_total")},
        unit="bytes",
    ),
    Graph(
        "Duration of a sweep",
        "Sweeps of jobs and of the volume.",
        {
            "{{sweep}}, median": _quantile(0.5, "gc_duration_seconds", "sweep, le"),
            "{{sweep}}, p95": _quantile(0.95, "gc_duration_seconds", "sweep, le"),
        },
        unit="s",
    ),
    Graph(
        "Log volume",
        "When it was last swept.",
        {
            "used": f"max({_metric('volume_size_bytes')} - {_metric('volume_free_bytes')})",
            "size": f"max({_metric('volume_size_bytes')})",
        },
        unit="bytes",
    ),
    Graph(
        "Skipped by the sweeps",
        "By reason; reasons that begin with a small letter are those of the volume.",
        {"{{sweep}} {{reason}}": _gained("gc_skipped_total", "sweep, reason")},
        width=_WIDTH,
    ),
)

_RECORDS: Final = (
    Graph(
        "Records waiting",
        "Beyond the limit they wait only in the cluster.",
        {
            "waiting": _bound("bounded_used", "retry_cache"),
            "limit": _bound("bounded_limit", "retry_cache"),
        },
    ),
    Graph(
        "Records",
        "Stored, failed attempts, rejected, and given up.",
        {
            "stored": _gained("records_stored_total"),
            "failed attempts": _gained("record_failures_total"),
            "rejected": _gained("records_rejected_total"),
            "abandoned": _gained("records_abandoned_total"),
        },
    ),
    Graph(
        "Record endpoint down",
        "1 while the operator considers it down.",
        {"down": f"max({_metric('record_endpoint_down')})"},
        width=_WIDTH,
    ),
)

_WORK: Final = (
    Graph(
        "Leader",
        "1: leader. 0: standby.",
        {"{{pod}} {{instance}}": _metric("leader")},
    ),
    Graph(
        "Jobs by phase, and pods",
        "Jobs and pods in memory.",
        {
            "{{phase}}": f"sum by (phase) ({_metric('jobs')})",
            "pods": _sum("index_pods"),
        },
    ),
    Graph(
        "Passes over jobs",
        "Per second.",
        {"passes": _rate("reconciles_total"), "failed": _rate("reconcile_errors_total")},
        unit="ops",
    ),
    Graph(
        "Duration of a pass",
        "Including the wait for the API server.",
        {
            "median": _quantile(0.5, "reconcile_duration_seconds", "le"),
            "p99": _quantile(0.99, "reconcile_duration_seconds", "le"),
        },
        unit="s",
    ),
    Graph(
        "Requests of the API server",
        "By verb and class of the status code; none: no response.",
        {"{{verb}} {{code}}": _rate("api_requests_total", "verb, code")},
        unit="reqps",
    ),
    Graph(
        "Jobs that are due",
        "Keys in the work queue that no worker has taken yet.",
        {"due": _sum("work_queue_depth")},
    ),
)

ROWS: Final[dict[str, tuple[Graph, ...]]] = {
    "Now": _NOW,
    "Memory": _MEMORY,
    "Housekeeping": _HOUSEKEEPING,
    "Records": _RECORDS,
    "Work": _WORK,
}


def expressions() -> Iterator[tuple[str, str]]:
    """Yield the title and the PromQL of every query of the dashboard."""
    for graphs in ROWS.values():
        for graph in graphs:
            for query in graph.queries.values():
                yield graph.title, query


def dashboard_file() -> str:
    """Return the dashboard as Grafana's JSON."""
    numbers = count(1)
    made = (
        dashboard.Dashboard("TrainingJob operator")
        .uid(UID)
        .description("Memory, evictions, retention, records, and the log volume.")
        .tags(["kubernetes", "trainingjob"])
        .editable()
        .refresh("30s")
        .time("now-6h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        )
        .with_variable(
            dashboard.QueryVariable("job")
            .label("Install")
            .datasource(_DATASOURCE)
            .query(f"label_values({P}build_info, job)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(multi=True)
            .include_all(include_all=True)
            .all_value(".*")
        )
    )
    for title, graphs in ROWS.items():
        made = made.with_row(dashboard.Row(title).id(next(numbers)))
        for graph in graphs:
            made = made.with_panel(_panel(graph, next(numbers)))
    text: str = JSONEncoder(sort_keys=True, indent=2).encode(made.build())
    return text + "\n"


def _panel(graph: Graph, number: int) -> timeseries.Panel | stat.Panel:
    panel = stat.Panel().height(4) if graph.is_number else _lines(graph)
    panel = (
        panel.id(number)
        .title(graph.title)
        .description(graph.description)
        .datasource(_DATASOURCE)
        .unit(graph.unit)
        .span(graph.width)
    )
    for letter, (legend, query) in zip(ascii_uppercase, graph.queries.items(), strict=False):
        target = prometheus.Dataquery().ref_id(letter).datasource(_DATASOURCE).expr(query)
        target = target.instant() if graph.is_number else target.range()
        panel = panel.with_target(target.legend_format(legend or "__auto"))
    return panel


def _lines(graph: Graph) -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .show_legend(show_legend=True)
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .calcs([])
    )
    panel = (
        timeseries.Panel()
        .height(8)
        .min(0)
        .fill_opacity(30 if graph.is_stacked else 5)
        .legend(legend)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if graph.is_stacked:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    return panel
