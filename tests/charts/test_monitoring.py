"""The alerts, the dashboard and the secure port of the chart, with Helm 3 and 4."""

from collections.abc import Callable
from typing import Any

import pytest

from hack.chart import CHART
from hack.monitoring.alerts import ALERTS
from hack.tools.helm import Major
from tests.support.real.chart import (
    Object,
    RenderError,
    Values,
    container,
    environment,
    one,
    pod_spec,
    render,
)


def rules_of(objects: list[Object]) -> list[dict[str, Any]]:
    groups = one(objects, "PrometheusRule")["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_alerts_are_rendered_on_request_as_tested(major: Major) -> None:
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


def test_an_unknown_alert_name_is_rejected() -> None:
    with pytest.raises(RenderError, match="disabled"):
        render({"prometheusRule": {"enabled": True, "disabled": ["Watchdog"]}})


def test_the_dashboard_is_a_config_map_for_the_sidecar_of_grafana(major: Major) -> None:
    assert not [found for found in render(major=major) if found["kind"] == "ConfigMap"]
    made = one(render({"dashboard": {"enabled": True}}, major=major), "ConfigMap")
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert "annotations" not in made["metadata"]
    written = (CHART / "files" / "dashboard.json").read_text()
    assert made["data"] == {"trainingjob-operator.json": written}


def test_the_dashboard_gets_custom_labels_and_annotations() -> None:
    values: Values = {
        "dashboard": {
            "enabled": True,
            "labels": {"grafana_dashboard": "yes", "team": "ml"},
            "annotations": {"grafana_folder": "Training"},
        }
    }
    metadata = one(render(values), "ConfigMap")["metadata"]
    assert metadata["labels"]["grafana_dashboard"] == "yes"
    assert metadata["labels"]["team"] == "ml"
    assert metadata["annotations"] == {"grafana_folder": "Training"}


MONITORS = pytest.mark.parametrize(
    ("kind", "part", "values"),
    [
        ("PodMonitor", "operator", lambda monitor: {"podMonitor": monitor}),
        ("PodMonitor", "console", lambda monitor: {"console": {"podMonitor": monitor}}),
        ("ServiceMonitor", "record-service", lambda m: {"recordService": {"serviceMonitor": m}}),
    ],
)


@MONITORS
def test_each_monitor_is_scraped_and_relabelled_as_the_values_say(
    kind: str, part: str, values: Callable[[Values], Values]
) -> None:
    def endpoint(monitor: Values) -> Values:
        spec = one(render(values({"enabled": True, **monitor})), kind, part=part)["spec"]
        [found] = spec.get("podMetricsEndpoints") or spec["endpoints"]
        return dict(found)

    plain = endpoint({})
    assert plain.items() >= {"path": "/metrics", "interval": "30s"}.items()
    changed: Values = {
        "interval": "1m",
        "scrapeTimeout": "20s",
        "relabelings": [{"targetLabel": "cluster", "replacement": "west"}],
        "metricRelabelings": [{"regex": "python_gc_.*", "action": "drop"}],
    }
    assert endpoint(changed) == plain | changed


SECURE: Values = {
    "metrics": {"secure": {"enabled": True, "port": 9443, "certificateSecret": "metrics-tls"}},
    "podMonitor": {"enabled": True},
}


def test_with_tls_the_metrics_have_a_port_a_certificate_and_rights(major: Major) -> None:
    objects = render(SECURE, major=major)
    variables = environment(objects)
    assert variables["TRAININGJOB_METRICS__SECURE_ADDRESS"] == ":9443"
    folder = variables["TRAININGJOB_METRICS__CERTIFICATE_DIR"]
    [mount] = [m for m in container(objects)["volumeMounts"] if m["mountPath"] == folder]
    [volume] = [v for v in pod_spec(objects)["volumes"] if v["name"] == mount["name"]]
    assert mount["readOnly"] is True
    assert volume["secret"] == {"secretName": "metrics-tls"}
    ports = {port["name"]: port["containerPort"] for port in container(objects)["ports"]}
    assert ports == {"http": 8080, "https-metrics": 9443}
    [rule] = one(objects, "NetworkPolicy")["spec"]["ingress"]
    assert rule["ports"] == [{"port": "https-metrics"}]
    [endpoint] = one(objects, "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["scheme"]) == ("https-metrics", "https")
    assert endpoint["tlsConfig"] == {"insecureSkipVerify": True}
    assert "authorization" not in endpoint
    reader = one(objects, "ClusterRole", "trainingjob-operator-metrics-reader")
    assert reader["rules"] == [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]


def test_the_pod_monitor_uses_the_configured_token() -> None:
    secure = SECURE["metrics"]["secure"] | {"tokenSecret": {"name": "scraper", "key": "t"}}
    objects = render(SECURE | {"metrics": {"secure": secure}})
    [endpoint] = one(objects, "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert endpoint["authorization"] == {
        "type": "Bearer",
        "credentials": {"name": "scraper", "key": "t"},
    }


def test_without_tls_no_tls_objects_are_rendered() -> None:
    assert "reviews" not in str(render())
    assert "https" not in str(one(render(), "Deployment"))
    with pytest.raises(RenderError, match="certificateSecret"):
        render({"metrics": {"secure": {"enabled": True}}})
