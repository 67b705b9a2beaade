"""The alert type, and PromQL expressions that several alerts use."""

from dataclasses import dataclass
from typing import Final, Literal

P: Final = "trainingjob_operator_"
INSTALL: Final = "cluster, namespace, job"
"""The labels that identify one install. Where Prometheus sets none of them, all processes count as one
install."""

NAMESPACE: Final = "cluster, namespace"
"""The labels that the operator and the record service of one install share."""

Severity = Literal["critical", "warning"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert.

    Attributes:
        name: of the alert and of its runbook, `docs/runbooks/<name>.md`.
        severity: `critical` if something is being lost or nothing works; `warning` if that will be so
            unless somebody acts within hours.
        summary: one line.
        description: what it means, with the labels and the value that it fires with.
        expr: PromQL; the alert fires for each series of the result.
        lasting: how long `expr` must hold first, as in `10m`.
    """

    name: str
    severity: Severity
    summary: str
    description: str
    expr: str
    lasting: str


def ratio(structures: str) -> str:
    """Return PromQL for the used share of the limit of these structures in memory."""
    chosen = f'{{structure=~"{structures}"}}'
    return f"{P}bounded_used{chosen} / {P}bounded_limit{chosen}"


def counted(selector: str, window: str, *, until: str = "", known: str = "") -> str:
    """Return PromQL for the increase of a counter within a window, by series.

    `increase` misses what a process counted before its first scrape, because such a series starts
    above 0. So the whole value of a series counts if the series did not exist in the window before.
    Neither a reset nor the end of a series reduces the result.

    Args:
        selector: of the counter's series.
        window: as in `1h`.
        until: how long ago the window ended; empty: it ends now.
        known: how long ago the window before it ended; empty: where this one begins.
    """
    ago = f" offset {until}" if until else ""
    first = f"max_over_time({selector}[{window}]{ago})"
    before = f"max_over_time({selector}[{window}] offset {known or window})"
    return f"({first} unless {before}) or increase({selector}[{window}]{ago})"


def again_and_again(selector: str, by: str, window: str, longest_s: int) -> str:
    """Return PromQL that is true while every retention run increases a counter, whatever its interval.

    The window of a Prometheus rule is fixed, but the interval may be a day. If the interval is too
    long for the window, the counter must increase in each of the last two windows of 25 hours, which
    means in two runs.

    Args:
        selector: of the counter's series.
        by: the labels to sum by.
        window: as in `1h`; it is used for intervals of up to `longest_s`.
        longest_s: the longest interval in seconds for which the window is used.
    """
    lately = f"sum by ({by}) ({counted(selector, window)}) > 0"
    today = f"sum by ({by}) ({counted(selector, '25h')}) > 0"
    yesterday = f"sum by ({by}) ({counted(selector, '25h', until='25h', known='50h')}) > 0"
    seldom = f"max by ({INSTALL}) ({P}gc_interval_seconds) > {longest_s}"
    return f"{lately} or ({today} and {yesterday} and on ({INSTALL}) {seldom})"
