"""Reads the metrics that a program exposes, and those that `docs/metrics.md` lists for it."""

import re

from tests.support.repository import ROOT

Metric = tuple[str, str]
"""The name, as a query has it, and the type."""


def exposed_metrics(text: str) -> set[Metric]:
    """Return the metrics of a response of `/metrics`."""
    return {
        (name + "_total" if kind == "counter" else name, kind)
        for name, kind in re.findall(r"^# TYPE (\w+?)(?:_total)? (\w+)$", text, re.MULTILINE)
        if not name.endswith("_created")
    }


def documented_metrics(prefix: str) -> set[Metric]:
    """Return the rows of the page whose names begin so."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    return set(re.findall(rf"^\| `({prefix}\w+)` \| (\w+) \|", page, re.MULTILINE))
