"""Objects for the Prometheus operator and the Gateway API are valid against the schemas of their CRDs."""

import copy
from typing import Any

import jsonschema
import pytest

from hack.monitoring.definitions import GATEWAY, PROMETHEUS, Module, schema_of
from tests.support.real.chart import Object, Values, render

MONITOR = {
    "enabled": True,
    "labels": {"release": "mine"},
    "scrapeTimeout": "10s",
    "relabelings": [{"targetLabel": "cluster", "replacement": "west"}],
    "metricRelabelings": [
        {"sourceLabels": ["__name__"], "regex": "python_gc_.*", "action": "drop"}
    ],
}
EVERYTHING: Values = {
    "podMonitor": MONITOR,
    "prometheusRule": {"enabled": True},
    "metrics": {
        "secure": {
            "enabled": True,
            "certificateSecret": "metrics-tls",
            "tokenSecret": {"name": "scraper"},
        }
    },
    "recordService": {"serviceMonitor": MONITOR},
    "console": {
        "podMonitor": MONITOR,
        "httpRoute": {
            "enabled": True,
            "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
            "hostnames": ["jobs.example.com"],
            "annotations": {"a": "b"},
        },
        "networkPolicy": {"from": [{"namespaceSelector": {}}]},
    },
}
KINDS: dict[str, tuple[Module, str]] = {
    "PodMonitor trainingjob-operator": (PROMETHEUS, "podmonitors"),
    "PodMonitor trainingjob-operator-console": (PROMETHEUS, "podmonitors"),
    "PrometheusRule trainingjob-operator": (PROMETHEUS, "prometheusrules"),
    "ServiceMonitor trainingjob-operator-records": (PROMETHEUS, "servicemonitors"),
    "HTTPRoute trainingjob-operator-console": (GATEWAY, "httproutes"),
}


def made() -> dict[str, Object]:
    groups = ("monitoring.coreos.com/v1", "gateway.networking.k8s.io/v1")
    return {
        f"{found['kind']} {found['metadata']['name']}": found
        for found in render(EVERYTHING)
        if found["apiVersion"] in groups
    }


def test_every_third_party_kind_is_validated() -> None:
    assert set(made()) == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_each_object_is_valid_and_a_typo_is_detected(name: str) -> None:
    found, schema = made()[name], schema_of(*KINDS[name])
    jsonschema.validate(found, schema)
    for field, value in found["spec"].items():
        misspelt: dict[str, Any] = copy.deepcopy(found)
        misspelt["spec"][f"{field}x"] = value
        with pytest.raises(jsonschema.ValidationError, match=f"{field}x"):
            jsonschema.validate(misspelt, schema)
