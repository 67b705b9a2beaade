"""The dashboard: jobs in memory against the limit, what leaves it and why, records, the volume.

`make generate` writes it to the chart as the JSON that Grafana imports. Every metric named here is
one of docs/metrics.md; a test has a real Prometheus answer every expression.
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
"""In every selector: the installs that are chosen at the top."""
_FINISHED: Final = "Succeeded|Failed|Cancelled"
_WIDTH: Final = 24


@dataclass(frozen=True, slots=True)
class Graph:
    """One panel.

    Attributes:
        title: above it.
        description: what to make of it.
        queries: PromQL by legend.
        unit: Grafana's name for it.
        width: of 24.
        is_stacked: True: the series add up.
        is_number: True: only the last value, large.
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
    """Return how much a counter gained between two points of the graph, as PromQL."""
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
        "Operators that work. 1 is right.",
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
        "Of the leader; finished ones leave after a while, settled suspended ones as well.",
        {"": _bound("bounded_used", "index")},
        width=4,
        is_number=True,
    ),
    Graph(
        "Memory used",
        "Of the limit, by the operator that uses the most.",
        {"": f"max({_metric('memory_used_bytes')} / {_metric('memory_limit_bytes')})"},
        unit="percentunit",
        width=4,
        is_number=True,
    ),
    Graph(
        "Records waiting",
        "Jobs whose records are not stored yet, as far as memory has their keys.",
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
        "Never above the limit. At the limit finished jobs leave first, then new ones wait.",
        {
            "jobs": _bound("bounded_used", "index"),
            "limit": _bound("bounded_limit", "index"),
        },
    ),
    Graph(
        "Active and finished jobs in memory",
        "Finished jobs are a stock that is cleaned; active ones are the load.",
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
        "Jobs cleaned from memory",
        "Of age, or sooner because of pressure; evicted: to make room for live ones.",
        {
            "{{reason}}": _gained("gc_memory_entries_freed_total", "reason"),
            "evicted": _gained("index_evicted_total"),
        },
        is_stacked=True,
    ),
    Graph(
        "How full each structure in memory is",
        "1 is the limit of each. Caches are full for ever; docs/metrics.md says which those are.",
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
        "By reason, and the tries that came to nothing.",
        {
            "{{reason}}": _gained("gc_objects_deleted_total", "reason"),
            "refused": _gained("gc_delete_errors_total"),
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
        "Old ones that no job owns.",
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
        "Duration of the cleanup",
        "Of the sweeps of jobs and of the volume.",
        {
            "{{sweep}}, half": _quantile(0.5, "gc_duration_seconds", "sweep, le"),
            "{{sweep}}, 95 of 100": _quantile(0.95, "gc_duration_seconds", "sweep, le"),
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
        "What the sweeps left alone",
        "By reason; names with a small letter are of the volume.",
        {"{{sweep}} {{reason}}": _gained("gc_skipped_total", "sweep, reason")},
        width=_WIDTH,
    ),
)

_RECORDS: Final = (
    Graph(
        "Records waiting",
        "Beyond the limit they wait in the cluster alone.",
        {
            "waiting": _bound("bounded_used", "retry_cache"),
            "limit": _bound("bounded_limit", "retry_cache"),
        },
    ),
    Graph(
        "Records",
        "Stored, tried in vain, refused, and given up.",
        {
            "stored": _gained("records_stored_total"),
            "tries that failed": _gained("record_failures_total"),
            "rejected": _gained("records_rejected_total"),
            "abandoned": _gained("records_abandoned_total"),
        },
    ),
    Graph(
        "Record endpoint down",
        "1 while it is taken to be down.",
        {"down": f"max({_metric('record_endpoint_down')})"},
        width=_WIDTH,
    ),
)

_WORK: Final = (
    Graph(
        "Leader",
        "1: this one works. 0: it waits.",
        {"{{pod}} {{instance}}": _metric("leader")},
    ),
    Graph(
        "Jobs by phase, and pods",
        "As far as they are in memory.",
        {
            "{{phase}}": f"sum by (phase) ({_metric('jobs')})",
            "pods": _sum("index_pods"),
        },
    ),
    Graph(
        "Passes over jobs",
        "A second.",
        {"passes": _rate("reconciles_total"), "failed": _rate("reconcile_errors_total")},
        unit="ops",
    ),
    Graph(
        "Duration of a pass",
        "The waiting for the API server included.",
        {
            "half": _quantile(0.5, "reconcile_duration_seconds", "le"),
            "99 of 100": _quantile(0.99, "reconcile_duration_seconds", "le"),
        },
        unit="s",
    ),
    Graph(
        "Requests of the API server",
        "By verb and class of the answer; none: no answer.",
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
        .description("What is in memory, what leaves it and why, records, the log volume.")
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
