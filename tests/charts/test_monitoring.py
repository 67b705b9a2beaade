"""The alerts of the chart, in both Helms."""

from typing import Any

import pytest

from hack.monitoring.alerts import ALERTS
from hack.tools.helm import Major
from tests.support.real.chart import Object, RenderError, Values, one, render


def rules_of(objects: list[Object]) -> list[dict[str, Any]]:
    groups = one(objects, "PrometheusRule")["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_alerts_are_made_on_request_as_they_are_tested(major: Major) -> None:
    assert not [found for found in render(major=major) if found["kind"] == "PrometheusRule"]
    values = {"prometheusRule": {"enabled": True, "labels": {"release": "mine"}}}
    objects = render(values, major=major)
    made = one(objects, "PrometheusRule")
    assert made["apiVersion"] == "monitoring.coreos.com/v1"
    assert made["metadata"]["labels"]["release"] == "mine"
    assert [
        (rule["alert"], rule["expr"], rule["for"], rule["labels"], rule["annotations"])
        for rule in rules_of(objects)
    ] == [
        (
            alert.name,
            alert.expr,
            alert.lasting,
            {"severity": alert.severity},
            {
                "summary": alert.summary,
                "description": alert.description,
                "runbook_url": f"docs/runbooks/{alert.name}.md",
            },
        )
        for alert in ALERTS
    ]


def test_runbooks_are_linked_where_they_are_served_and_alerts_can_be_left_out() -> None:
    names = [alert.name for alert in ALERTS]
    values: Values = {
        "prometheusRule": {
            "enabled": True,
            "runbookUrl": "https://wiki.example/runbooks/",
            "disabled": names[1:],
        }
    }
    [only] = rules_of(render(values))
    assert only["alert"] == names[0]
    link = only["annotations"]["runbook_url"]
    assert link == f"https://wiki.example/runbooks/{names[0]}.md"
    assert len(one(render(values), "PrometheusRule")["spec"]["groups"]) == 1


def test_what_is_no_name_of_an_alert_is_refused() -> None:
    with pytest.raises(RenderError, match="disabled"):
        render({"prometheusRule": {"enabled": True, "disabled": ["Watchdog"]}})
