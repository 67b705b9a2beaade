"""Tests of the Grafana dashboard: complete, without overlapping panels, and with known metrics only."""

import json
import re
from collections import Counter
from typing import Any

from hack.chart import CHART
from hack.monitoring.alert import P
from hack.monitoring.dashboard import UID, expressions
from tests.support.repository import ROOT

DASHBOARD: dict[str, Any] = json.loads((CHART / "files" / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
GRAPHS = [panel for panel in PANELS if panel["type"] != "row"]
WIDTH = 24


def test_every_panel_has_a_number_and_a_place_of_its_own() -> None:
    assert DASHBOARD["uid"] == UID
    assert max(Counter(panel["id"] for panel in PANELS).values()) == 1
    cells: Counter[tuple[int, int]] = Counter()
    for place in (panel["gridPos"] for panel in PANELS):
        assert place["x"] + place["w"] <= WIDTH
        cells.update(
            (place["x"] + right, place["y"] + down)
            for right in range(place["w"])
            for down in range(place["h"])
        )
    assert max(cells.values()) == 1


def test_every_panel_says_what_it_shows_and_asks_the_chosen_prometheus() -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert sorted(variables) == ["datasource", "job"]
    assert variables["job"]["query"] == f"label_values({P}build_info, job)"
    assert len(GRAPHS) > 20
    for panel in GRAPHS:
        assert panel["title"]
        assert panel["description"]
        targets = panel["targets"]
        assert [panel["datasource"], *(each["datasource"] for each in targets)] == [chosen] * (
            1 + len(targets)
        )
        assert len({each["refId"] for each in targets}) == len(targets) > 0


def test_the_file_asks_what_the_code_says_and_only_of_the_chosen_installs() -> None:
    asked = [target["expr"] for panel in GRAPHS for target in panel["targets"]]
    assert asked == [query for _, query in expressions()]
    for query in asked:
        assert len(re.findall(rf"\b{P}\w+", query)) == query.count('job=~"$job"')


def test_every_metric_of_the_dashboard_is_on_the_page_of_metrics() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    documented = set(re.findall(r"^\| `(trainingjob_operator_\w+)`", page, re.MULTILINE))
    named = {
        name.removesuffix("_bucket")
        for _, query in expressions()
        for name in re.findall(rf"\b{P}\w+", query)
    }
    assert len(named) > 30
    assert named - documented == set()
