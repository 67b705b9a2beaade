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


def of_records(name: str, labels: str = "") -> str:
    """A series of the record service."""
    of = f'namespace="{NAMESPACE}",job="records",pod="r"'
    return f"{R}{name}{{{','.join(filter(None, (of, labels)))}}}"


def always(value: float) -> str:
    return f"{value}x{STEPS}"


def growing(per_minute: float) -> str:
    return f"0+{per_minute * STEP}x{STEPS}"


def in_turns(*values: float, minutes: int) -> str:
    """Each of the values for so long, again and again."""
    turn = [f"{value}x{minutes // STEP - 1}" for value in values]
    return " ".join(turn * (MINUTES // (minutes * len(values)) + 1))


def lately(before: float, after: float) -> str:
    """A value that changed half an hour before the end."""
    return f"{before}x{STEPS - 16} {after}x14"


def born(value: float) -> str:
    """A number of a pod that has begun half an hour before the end: its first scrape has it."""
    return f"_x{STEPS - 16} {value}x14"


def ages(seconds: float) -> str:
    """A timestamp whose age is constant."""
    return f"-{seconds}+{60 * STEP}x{STEPS}"


def bounded(structure: str, used: float, limit: float) -> Series:
    label = f'structure="{structure}"'
    return {
        metric("bounded_used", label): always(used),
        metric("bounded_limit", label): always(limit),
    }


WELL: Series = {
    **{metric("build_info", 'version="1"', pod): always(1) for pod in PODS},
    **{metric("process_start_time_seconds", pod=pod): always(1) for pod in PODS},
    **{metric("ready", pod=pod): always(1) for pod in PODS},
    metric("leader"): always(1),
    metric("leader", pod="b"): always(0),
    metric("api_requests_total", 'verb="watch",code="2xx"'): growing(0.2),
    metric("api_requests_total", 'verb="get",code="2xx"'): growing(60),
    metric("api_requests_total", 'verb="patch",code="4xx"'): growing(20),
    metric("api_requests_total", 'verb="get",code="5xx"'): growing(1),
    metric("memory_used_bytes"): always(89),
    metric("memory_limit_bytes"): always(100),
    # Intermittent pressure: every other half hour.
    metric("memory_pressure"): in_turns(1, 0, minutes=30),
    metric("lists_forbidden"): always(0),
    metric("reconciles_total"): growing(100),
    metric("reconcile_errors_total"): growing(9),
    metric("work_queue_depth"): always(50),
    **bounded("index", 17_000, 20_000),
    **bounded("pods", 10, 100_000),
    **bounded("work_queue", 70_000, 80_000),
    **bounded("manifest_cache_bytes", 16, 16),  # always full, as caches are
    **bounded("retry_cache", 790, 1000),
    metric("record_endpoint_down"): in_turns(1, 0, minutes=12),
    metric("records_rejected_total"): always(3),  # from the day before
    metric("records_abandoned_total"): always(1),
    metric("records_rejected_total", pod="b"): born(0),
    metric("records_abandoned_total", pod="b"): born(0),
    metric("gc_interval_seconds"): always(600),
    metric("gc_interval_seconds", pod="b"): always(600),
    # Ended 50 minutes ago: three times the interval must not fire an alert.
    metric("gc_last_success_timestamp_seconds", 'sweep="jobs"'): ages(3000),
    metric("gc_last_success_timestamp_seconds", 'sweep="volume"'): ages(3000),
    metric("gc_last_success_timestamp_seconds", 'sweep="jobs"', "b"): always(0),
    metric("gc_holds_total", 'cause="StoodStill"'): always(2),
    metric("gc_delete_errors_total"): always(5),
    metric("gc_skipped_total", 'sweep="jobs",reason="Kept"'): growing(7),
    metric("gc_skipped_total", 'sweep="jobs",reason="RecordPending"'): f"0+1x30 30x{STEPS - 31}",
    metric("gc_skipped_total", 'sweep="volume",reason="young"'): growing(7),
    metric("gc_skipped_total", 'sweep="volume",reason="JobsUnknown"'): always(2),
    metric("volume_size_bytes"): always(1000),
    metric("volume_free_bytes"): always(101),
    of_records("database_up"): in_turns(1, 0, minutes=4),  # a short restart
    of_records("database_full"): in_turns(0, 1, minutes=4),
    of_records("database_free_bytes"): always(21),  # at the size limit of the records
    of_records("database_used_bytes"): always(79),
    of_records("queue_records"): always(200),
    of_records("queue_limit_records"): always(256),
    of_records("queue_bytes"): always(50),
    of_records("queue_limit_bytes"): always(64),
    of_records("records_removed_total", 'limit="size"'): always(40),  # from the week before
    of_records("records_removed_total", 'limit="age"'): growing(5),
    of_records("http_requests_total", 'method="PUT",route="x",status="500"'): always(2),
    of_records("http_requests_total", 'method="PUT",route="x",status="503"'): growing(2),
    of_records("http_requests_total", 'method="PUT",route="x",status="200"'): growing(100),
}
"""A busy install that is well, with each number near the threshold of its alert."""


@dataclass(frozen=True)
class Case:
    """Input series, and the alerts that they fire.

    Attributes:
        alert: that the case is of.
        series: differences from `WELL`; empty: no series at all.
        also: the alerts that fire beside it, because they are true as well.
    """

    alert: str
    series: Series = field(default_factory=dict)
    also: tuple[str, ...] = ()


class Fired(NamedTuple):
    """An alert that fires, and the namespace of the install that it is about."""

    alert: str
    namespace: str


def _labels(alert: str | Fired) -> str:
    if isinstance(alert, Fired):
        return f'{{alertname="{alert.alert}",namespace="{alert.namespace}"}}'
    return f'{{alertname="{alert}"}}'


def check(
    folder: Path,
    series: Series,
    expected: dict[str, Sequence[str | Fired]],
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


def check_each(folder: Path, cases: Sequence[Case]) -> None:
    """Let promtool compare for all cases at once: each is an install in a namespace of its own.

    Cases do not affect each other, and the evaluation of every rule at every step, nearly all of the work, is done once.
    """
    series: Series = {}
    fired: list[Fired] = []
    for number, case in enumerate(cases):
        namespace = f"{case.alert}-{number}"
        series |= {
            name.replace(f'namespace="{NAMESPACE}"', f'namespace="{namespace}"'): values
            for name, values in (WELL | case.series).items()
        }
        fired += [Fired(alert, namespace) for alert in (case.alert, *case.also)]
    check(folder, series, {OF_EACH: fired})
