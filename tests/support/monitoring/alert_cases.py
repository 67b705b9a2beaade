"""Builds input series for `promtool test rules`, and checks which alerts fire."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hack.chart import CHART
from hack.monitoring.alert import P
from hack.monitoring.record_alerts import R
from tests.support.monitoring.prometheus import find_program

RULES = CHART / "files" / "alerts.yaml"
STEP = 2
"""Minutes between two scrapes, and between two evaluations: a longer one takes less time."""
MINUTES = 240
STEPS = MINUTES // STEP
NAMESPACE = "tj"
PODS = "ab"
"""Of two operators: the leader, and the standby."""

Series = dict[str, str]
"""Values for each step by series, in promtool's notation: `1x120` is 1 all the time."""


def metric(name: str, labels: str = "", pod: str = "a") -> str:
    """A series of one of the operators."""
    prefix = "" if name.startswith("process_") else P
    of = f'namespace="{NAMESPACE}",job="op",pod="{pod}"'
    return f"{prefix}{name}{{{','.join(filter(None, (of, labels)))}}}"


def record_metric(name: str, labels: str = "") -> str:
    """A series of the record service."""
    of = f'namespace="{NAMESPACE}",job="records",pod="r"'
    return f"{R}{name}{{{','.join(filter(None, (of, labels)))}}}"


def constant(value: float) -> str:
    return f"{value}x{STEPS}"


def increasing(per_minute: float) -> str:
    return f"0+{per_minute * STEP}x{STEPS}"


def alternating(*values: float, minutes: int) -> str:
    """Each of the values for so long, again and again."""
    turn = [f"{value}x{minutes // STEP - 1}" for value in values]
    return " ".join(turn * (MINUTES // (minutes * len(values)) + 1))


def changed_recently(before: float, after: float) -> str:
    """A value that changed half an hour before the end."""
    return f"{before}x{STEPS - 16} {after}x14"


def started_recently(value: float) -> str:
    """A number of a pod that has begun half an hour before the end: its first scrape has it."""
    return f"_x{STEPS - 16} {value}x14"


def constant_age(seconds: float) -> str:
    """A timestamp whose age is constant."""
    return f"-{seconds}+{60 * STEP}x{STEPS}"


def bound_usage(structure: str, used: float, limit: float) -> Series:
    label = f'structure="{structure}"'
    return {
        metric("bounded_used", label): constant(used),
        metric("bounded_limit", label): constant(limit),
    }


HEALTHY: Series = {
    **{metric("build_info", 'version="1"', pod): constant(1) for pod in PODS},
    **{metric("process_start_time_seconds", pod=pod): constant(1) for pod in PODS},
    **{metric("ready", pod=pod): constant(1) for pod in PODS},
    metric("leader"): constant(1),
    metric("leader", pod="b"): constant(0),
    metric("api_requests_total", 'verb="watch",code="2xx"'): increasing(0.2),
    metric("api_requests_total", 'verb="get",code="2xx"'): increasing(60),
    metric("api_requests_total", 'verb="patch",code="4xx"'): increasing(20),
    metric("api_requests_total", 'verb="get",code="5xx"'): increasing(1),
    metric("memory_used_bytes"): constant(89),
    metric("memory_limit_bytes"): constant(100),
    # Intermittent pressure: every other half hour.
    metric("memory_pressure"): alternating(1, 0, minutes=30),
    metric("lists_forbidden"): constant(0),
    metric("reconciles_total"): increasing(100),
    metric("reconcile_errors_total"): increasing(9),
    metric("work_queue_depth"): constant(50),
    **bound_usage("index", 17_000, 20_000),
    **bound_usage("pods", 10, 100_000),
    **bound_usage("work_queue", 70_000, 80_000),
    **bound_usage("manifest_cache_bytes", 16, 16),  # always full, as caches are
    **bound_usage("retry_cache", 790, 1000),
    metric("record_endpoint_down"): alternating(1, 0, minutes=12),
    metric("records_rejected_total"): constant(3),  # from the day before
    metric("records_abandoned_total"): constant(1),
    metric("records_rejected_total", pod="b"): started_recently(0),
    metric("records_abandoned_total", pod="b"): started_recently(0),
    metric("gc_interval_seconds"): constant(600),
    metric("gc_interval_seconds", pod="b"): constant(600),
    # Ended 50 minutes ago: three times the interval must not fire an alert.
    metric("gc_last_success_timestamp_seconds", 'sweep="jobs"'): constant_age(3000),
    metric("gc_last_success_timestamp_seconds", 'sweep="volume"'): constant_age(3000),
    metric("gc_last_success_timestamp_seconds", 'sweep="jobs"', "b"): constant(0),
    metric("gc_holds_total", 'cause="StoodStill"'): constant(2),
    metric("gc_delete_errors_total"): constant(5),
    metric("gc_skipped_total", 'sweep="jobs",reason="Kept"'): increasing(7),
    metric("gc_skipped_total", 'sweep="jobs",reason="RecordPending"'): f"0+1x30 30x{STEPS - 31}",
    metric("gc_skipped_total", 'sweep="volume",reason="young"'): increasing(7),
    metric("gc_skipped_total", 'sweep="volume",reason="JobsUnknown"'): constant(2),
    metric("volume_size_bytes"): constant(1000),
    metric("volume_free_bytes"): constant(101),
    record_metric("database_up"): alternating(1, 0, minutes=4),  # a short restart
    record_metric("database_full"): alternating(0, 1, minutes=4),
    record_metric("database_free_bytes"): constant(21),  # at the size limit of the records
    record_metric("database_used_bytes"): constant(79),
    record_metric("queue_records"): constant(200),
    record_metric("queue_limit_records"): constant(256),
    record_metric("queue_bytes"): constant(50),
    record_metric("queue_limit_bytes"): constant(64),
    record_metric("records_removed_total", 'limit="size"'): constant(40),  # from the week before
    record_metric("records_removed_total", 'limit="age"'): increasing(5),
    record_metric("http_requests_total", 'method="PUT",route="x",status="500"'): constant(2),
    record_metric("http_requests_total", 'method="PUT",route="x",status="503"'): increasing(2),
    record_metric("http_requests_total", 'method="PUT",route="x",status="200"'): increasing(100),
}
"""A busy install that is well, with each number near the threshold of its alert."""


@dataclass(frozen=True)
class Case:
    """Input series, and the alerts that they fire.

    Attributes:
        alert: that the case is of.
        series: differences from `HEALTHY`; empty: no series at all.
        also: the alerts that fire beside it, because they are true as well.
    """

    alert: str
    series: Series = field(default_factory=dict)
    also: tuple[str, ...] = ()


class FiredAlert(NamedTuple):
    """An alert that fires, and the namespace of the install that it is about."""

    alert: str
    namespace: str


def _labels(alert: str | FiredAlert) -> str:
    if isinstance(alert, FiredAlert):
        return f'{{alertname="{alert.alert}",namespace="{alert.namespace}"}}'
    return f'{{alertname="{alert}"}}'


def check(
    folder: Path,
    series: Series,
    expected: dict[str, Sequence[str | FiredAlert]],
    *,
    step: int = STEP,
    minutes: int = MINUTES,
) -> None:
    """Let promtool compare the alerts that each query over `ALERTS` returns."""
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": f"{step}m",
        "tests": [
            {
                "interval": f"{step}m",
                "input_series": [{"series": s, "values": v} for s, v in series.items()],
                "promql_expr_test": [
                    {
                        "expr": query,
                        "eval_time": f"{minutes}m",
                        "exp_samples": [
                            {"labels": _labels(alert), "value": 1} for alert in alerts
                        ],
                    }
                    for query, alerts in expected.items()
                ],
            }
        ],
    }
    path = folder / "test.yaml"
    path.write_text(json.dumps(test))  # JSON is valid YAML
    command = [str(find_program("promtool")), "test", "rules", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


FIRING = 'group by (alertname) (ALERTS{alertstate="firing"})'
EVER = f'group by (alertname) (max_over_time(ALERTS{{alertstate="firing"}}[{MINUTES - 60}m]))'
"""Without the first hour, in which each series is a new one."""
OF_EACH = 'group by (alertname, namespace) (ALERTS{alertstate="firing"})'


def check_cases(folder: Path, cases: Sequence[Case]) -> None:
    """Let promtool compare for all cases at once: each is an install in a namespace of its own.

    Cases do not affect each other, and the evaluation of every rule at every step, nearly all of the work, is done once.
    """
    series: Series = {}
    fired: list[FiredAlert] = []
    for number, case in enumerate(cases):
        namespace = f"{case.alert}-{number}"
        series |= {
            name.replace(f'namespace="{NAMESPACE}"', f'namespace="{namespace}"'): values
            for name, values in (HEALTHY | case.series).items()
        }
        fired += [FiredAlert(alert, namespace) for alert in (case.alert, *case.also)]
    check(folder, series, {OF_EACH: fired})
