"""The objects for the Prometheus operator, by the schemas of its own definitions."""

import copy
from typing import Any

import jsonschema
import pytest

from hack.monitoring.definitions import schema_of
from tests.support.real.chart import Object, Values, render

EVERYTHING: Values = {
    "podMonitor": {"enabled": True, "labels": {"release": "mine"}},
    "prometheusRule": {"enabled": True},
    "metrics": {
        "secure": {
            "enabled": True,
            "certificateSecret": "metrics-tls",
            "tokenSecret": {"name": "scraper"},
        }
    },
    "recordService": {"serviceMonitor": {"enabled": True, "labels": {"release": "mine"}}},
}
KINDS = {
    "PodMonitor": "podmonitors",
    "PrometheusRule": "prometheusrules",
    "ServiceMonitor": "servicemonitors",
}


def made() -> dict[str, Object]:
    objects = render(EVERYTHING)
    group = "monitoring.coreos.com/v1"
    return {found["kind"]: found for found in objects if found["apiVersion"] == group}


def test_every_object_for_the_prometheus_operator_is_looked_at() -> None:
    assert set(made()) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_valid_and_a_typo_in_it_would_be_found(kind: str) -> None:
    found, schema = made()[kind], schema_of(KINDS[kind])
    jsonschema.validate(found, schema)
    for name, value in found["spec"].items():
        misspelt: dict[str, Any] = copy.deepcopy(found)
        misspelt["spec"][f"{name}x"] = value
        with pytest.raises(jsonschema.ValidationError, match=f"{name}x"):
            jsonschema.validate(misspelt, schema)
