"""What an alert is, and the questions to Prometheus that alerts are made of."""

from dataclasses import dataclass
from typing import Final, Literal

P: Final = "trainingjob_operator_"
INSTALL: Final = "cluster, namespace, job"
"""The labels by which the processes of one install are told from those of another. Where Prometheus
sets none of them, all are one install."""

NAMESPACE: Final = "cluster, namespace"
"""The labels that the operator of an install and its record service have in common."""

Severity = Literal["critical", "warning"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert.

    Attributes:
        name: of the alert, and of its page `docs/runbooks/<name>.md`.
        severity: `critical`: something is being lost, or nothing works. `warning`: it will be, if
            nothing is done for hours.
        summary: one line.
        description: what it means, with the labels and the value that it fires with.
        expr: PromQL; it fires for each series that is there.
        lasting: how long it has to be so first, as in `10m`.
    """

    name: str
    severity: Severity
    summary: str
    description: str
    expr: str
    lasting: str


def ratio(structures: str) -> str:
    """Return how full these structures in memory are, as PromQL."""
    chosen = f'{{structure=~"{structures}"}}'
    return f"{P}bounded_used{chosen} / {P}bounded_limit{chosen}"


def counted(selector: str, window: str, *, until: str = "", known: str = "") -> str:
    """Return what a counter has counted within a window, by series, as PromQL.

    `increase` does not see what a process counted before its first scrape: such a series begins
    above 0. So all that it has counts, if it was not there in the window before. A reset of it
    takes nothing away, and neither does its end.

    Args:
        selector: of the counter's series.
        window: as in `1h`.
        until: how long ago the window ended; empty: it ends now.
        known: how long ago the window before it ended; empty: at the beginning of this one.
    """
    ago = f" offset {until}" if until else ""
    first = f"max_over_time({selector}[{window}]{ago})"
    before = f"max_over_time({selector}[{window}] offset {known or window})"
    return f"({first} unless {before}) or increase({selector}[{window}]{ago})"


def again_and_again(selector: str, by: str, window: str, longest_s: int) -> str:
    """Return PromQL that is true while each run of the housekeeping counts, whatever its interval.

    A window of a Prometheus rule is fixed, and the interval may be a day. Where it is too long for
    the window, there is something in each of the last two windows of 25 hours: in two runs.

    Args:
        selector: of the counter's series.
        by: the labels to sum by.
        window: for which an interval of `longest_s` is short, as in `1h`.
        longest_s: the longest interval in seconds that the window is for.
    """
    lately = f"sum by ({by}) ({counted(selector, window)}) > 0"
    today = f"sum by ({by}) ({counted(selector, '25h')}) > 0"
    yesterday = f"sum by ({by}) ({counted(selector, '25h', until='25h', known='50h')}) > 0"
    seldom = f"max by ({INSTALL}) ({P}gc_interval_seconds) > {longest_s}"
    return f"{lately} or ({today} and {yesterday} and on ({INSTALL}) {seldom})"
