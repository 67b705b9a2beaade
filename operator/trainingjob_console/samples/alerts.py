"""Evaluates the alerts of the PrometheusRule that depend on gauges only, with the same thresholds and delays.

Alerts that need rates over an hour are left to Prometheus. A test compares this table with `alerts.yaml`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from trainingjob_console.jobs.summary import time_text
from trainingjob_console.samples.series import Scrape, total

Rule = Callable[[list[Scrape]], bool]


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert.

    Attributes:
        name: as in the PrometheusRule, likewise `severity` and `summary`.
        after: seconds for which the rule must hold before the alert fires.
        holds: the rule, evaluated on the scrapes of all operators.
    """

    name: str
    severity: str
    after: int
    summary: str
    holds: Rule


def _above(name: str, bound: float) -> Rule:
    return lambda found: any((total(each, name) or 0.0) > bound for each in found)


def _share_above(used: str, limit: str, share: float) -> Rule:
    return lambda found: any(
        (total(each, used) or 0.0) > share * most for each in found if (most := total(each, limit))
    )


def _full(structures: Iterable[str], share: float) -> Rule:
    names = tuple(structures)

    def holds(found: list[Scrape]) -> bool:
        return any(
            (total(each, "bounded_used", structure=name) or 0.0) > share * most
            for each in found
            for name in names
            if (most := total(each, "bounded_limit", structure=name))
        )

    return holds


def _free_below(share: float) -> Rule:
    return lambda found: any(
        (total(each, "volume_free_bytes") or 0.0) < share * size
        for each in found
        if (size := total(each, "volume_size_bytes"))
    )


def _leaders(found: list[Scrape]) -> float:
    return sum(total(each, "leader") or 0.0 for each in found)


_QUEUES: Final = ("work_queue", "waiting_line", "event_queue", "log_queue", "policies")

ALERTS: Final = (
    Alert(
        "TrainingJobOperatorAbsent",
        "critical",
        300,
        "Prometheus has no metrics of the operator",
        lambda found: not any("build_info" in each for each in found),
    ),
    Alert(
        "TrainingJobOperatorNoLeader",
        "critical",
        120,
        "Operators run, and none of them is the leader",
        lambda found: any("leader" in each for each in found) and _leaders(found) == 0,
    ),
    Alert(
        "TrainingJobOperatorManyLeaders",
        "critical",
        120,
        "More than one operator is the leader",
        lambda found: _leaders(found) > 1,
    ),
    Alert(
        "TrainingJobOperatorNotReady",
        "critical",
        600,
        "An operator is not ready",
        lambda found: any(total(each, "ready") == 0 for each in found),
    ),
    Alert(
        "TrainingJobOperatorMemoryHigh",
        "critical",
        300,
        "An operator is about to reach its memory limit",
        _share_above("memory_used_bytes", "memory_limit_bytes", 0.9),
    ),
    Alert(
        "TrainingJobOperatorMemoryPressure",
        "warning",
        3600,
        "Memory has been short for an hour",
        _above("memory_pressure", 0),
    ),
    Alert(
        "TrainingJobOperatorRightsMissing",
        "warning",
        900,
        "The operator may not list a namespace",
        _above("lists_forbidden", 0),
    ),
    Alert(
        "TrainingJobOperatorIndexFull",
        "warning",
        900,
        "The index is close to its limit of jobs, or the pods are close to theirs",
        _full(("index", "pods"), 0.9),
    ),
    Alert(
        "TrainingJobOperatorQueueFull",
        "warning",
        600,
        "A queue of the operator is almost full",
        _full(_QUEUES, 0.9),
    ),
    Alert(
        "TrainingJobRecordEndpointDown",
        "critical",
        900,
        "The record endpoint has not answered for 15 minutes",
        _above("record_endpoint_down", 0),
    ),
    Alert(
        "TrainingJobRecordsWaiting",
        "warning",
        900,
        "The retry cache of waiting records is almost full",
        _full(("retry_cache",), 0.8),
    ),
    Alert(
        "TrainingJobLogVolumeFilling",
        "warning",
        900,
        "The log volume is almost full",
        _free_below(0.1),
    ),
    Alert(
        "TrainingJobLogVolumeFull",
        "critical",
        0,
        "The log volume is full",
        _free_below(0.02),
    ),
)


class AlertStates:
    """Tracks since when the rule of each alert has held."""

    def __init__(self) -> None:
        self._since: Final[dict[str, float]] = {}

    def update(self, now: float, found: list[Scrape]) -> None:
        """Evaluate all rules.

        Args:
            now: seconds since 1970.
            found: scrapes of the operators that respond.
        """
        for alert in ALERTS:
            if alert.holds(found):
                self._since.setdefault(alert.name, now)
            else:
                self._since.pop(alert.name, None)

    def firing(self, now: float) -> list[dict[str, Any]]:
        """Return the alerts whose rules have held for long enough."""
        return [
            {
                "name": alert.name,
                "severity": alert.severity,
                "since": time_text(int(since)),
                "summary": alert.summary,
                "runbook": None,
            }
            for alert in ALERTS
            if (since := self._since.get(alert.name)) is not None and now - since >= alert.after
        ]
