"""Chart values: each is documented, in the schema and used, and typos are rejected."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from hack.chart import CHART, documented_values
from hack.tools.helm import Major
from tests.support.real.chart import RenderError, Values, render
from trainingjob_console import settings as console_settings
from trainingjob_operator.settings import variable_names
from trainingjob_records import settings as record_settings

TEXT = (CHART / "values.yaml").read_text()
VALUES: Values = yaml.safe_load(TEXT)
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
TEMPLATES = "\n".join(
    path.read_text()
    for path in sorted((CHART / "templates").rglob("*"))
    if path.is_file() and path.parent.name != "crds"
)
for name, value in (
    ("$service.", ".Values.recordService."),
    ("$persistence.", ".Values.recordService.persistence."),
    ("$console.", ".Values.console."),
    ("$ingress.", ".Values.console.ingress."),
    ("$route.", ".Values.console.httpRoute."),
    ("$secret.", ".Values.recordService.tokenSecret."),
):
    TEMPLATES = TEMPLATES.replace(name, value)
PASSED_ON = {
    "podSecurityContext",
    "securityContext",
    "resources",
    "nodeSelector",
    "labels",
    "tlsConfig",
}
"""Kubernetes' own types: the chart has a default for them, but no keys of its own."""
ANYBODY: Values = {"from": [{"namespaceSelector": {}}]}


def leaves(tree: dict[str, Any], *above: str) -> Iterator[tuple[str, ...]]:
    """Return the paths of all values; an object that is passed on to Kubernetes counts as one value."""
    for key, value in tree.items():
        path = (*above, key)
        if isinstance(value, dict) and value and key not in PASSED_ON:
            yield from leaves(value, *path)
        else:
            yield path


def schema_leaves(node: dict[str, Any], *above: str) -> Iterator[tuple[str, ...]]:
    for key, child in node.get("properties", {}).items():
        if any(child.get("properties", {}).values()):
            assert child["additionalProperties"] is False, key
            yield from schema_leaves(child, *above, key)
        else:  # for `config` the schema has only names that it rejects
            yield (*above, key)


LEAVES = sorted(leaves(VALUES))


def test_exactly_the_existing_values_are_documented() -> None:
    assert sorted(value.path for value in documented_values(TEXT)) == LEAVES


def test_the_schema_has_the_same_keys_as_the_values() -> None:
    assert SCHEMA["additionalProperties"] is False
    assert set(schema_leaves(SCHEMA)) - {("global",)} == set(LEAVES)


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_every_value_is_used(path: tuple[str, ...]) -> None:
    # crds.* are used in generated templates, which have a separate test.
    assert path[0] == "crds" or re.search(rf"\.Values\.{re.escape('.'.join(path))}\b", TEMPLATES)


def test_every_setting_of_the_operator_has_a_value() -> None:
    named = set(re.findall(r"\bTRAININGJOB_[A-Z_]+\b", TEMPLATES))
    of_records = {name for name in named if name.startswith(record_settings.PREFIX)}
    of_console = {name for name in named if name.startswith(console_settings.PREFIX)}
    assert named - of_records - of_console == set(variable_names())
    assert len(of_records) == 8
    assert of_records <= set(record_settings.variable_names())
    assert of_console <= set(console_settings.variable_names())


SHOWS_LOGS = {"archivedLogs": True}
OF_ONE_POD = {"accessMode": "ReadWriteOncePod"}


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"imagee": {}}, "imagee"),
        ({"image": {"tagg": "1"}}, "tagg"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"image": {"digest": "1234"}}, "digest"),
        ({"replicas": "two"}, "replicas"),
        ({"replicas": 2, "leaderElection": {"enabled": False}}, "enabled"),
        # The second operator could not attach the volume.
        ({"replicas": 2, "logVolume": {"existingClaim": "logs"}}, "accessMode"),
        ({"replicas": 2, "logVolume": {"create": True}}, "accessMode"),
        # The console could never attach it.
        ({"console": SHOWS_LOGS, "logVolume": {"existingClaim": "l", **OF_ONE_POD}}, "accessMode"),
        ({"console": SHOWS_LOGS, "logVolume": {"create": True, **OF_ONE_POD}}, "accessMode"),
        ({"logVolume": {"create": True, "existingClaim": "logs"}}, "existingClaim"),
        ({"networkPolicy": {"egress": {"apiServerPorts": []}}}, "apiServerPorts"),
        ({"topologySpreadConstraints": [{"maxSkew": 1}]}, "topologySpreadConstraints"),
        ({"extraObjects": {"a": 1}}, "extraObjects"),
        ({"leaderElection": {"leaseDuration": "soon"}}, "leaseDuration"),
        ({"watchNamespaces": "team-a"}, "watchNamespaces"),
        ({"watchNamespaces": ["Team_A"]}, "watchNamespaces"),
        ({"watchNamespaces": ["a", "a"]}, "watchNamespaces"),
        ({"kubernetes": {"timeout": "soon"}}, "timeout"),
        ({"reconciler": {"workers": 0}}, "workers"),
        ({"index": {"maxJobs": "many"}}, "maxJobs"),
        ({"web": {"port": 80}}, "port"),
        ({"logging": {"level": "loud"}}, "level"),
        ({"config": {"LOGGING__LEVEL": "info"}}, "config"),
        # The chart's rights and probes would not match these settings.
        ({"config": {"TRAININGJOB_NAMESPACES": "a"}}, "config"),
        ({"config": {"TRAININGJOB_WEB__ADDRESS": ":1"}}, "config"),
        ({"config": {"TRAININGJOB_METRICS__SECURE_ADDRESS": ":1"}}, "config"),
        ({"metrics": {"secure": {"enabled": True}}}, "certificateSecret"),
        ({"recordService": {"port": 80}}, "port"),
        ({"recordService": {"persistence": {"size": "much"}}}, "size"),
        ({"recordService": {"config": {"TRAININGJOB_RECORDS_TOKEN_FILE": "/t"}}}, "config"),
        ({"recordService": {"config": {"TRAININGJOB_PERSIST__URL": "http://a"}}}, "config"),
        ({"console": {"port": 80}}, "port"),
        ({"console": {"replicas": -1}}, "replicas"),
        ({"console": {"origins": ["jobs.example.com"]}}, "origins"),
        ({"console": {"config": {"TRAININGJOB_CONSOLE_AUTH": "none"}}}, "config"),
        ({"console": {"config": {"TRAININGJOB_CONSOLE_NAMESPACES": "a"}}}, "config"),
        ({"console": {"ingress": {"enabled": True}, "networkPolicy": ANYBODY}}, "host"),
        ({"console": {"httpRoute": {"enabled": True}, "networkPolicy": ANYBODY}}, "parentRefs"),
        # The network policy would admit no traffic from the Ingress.
        ({"console": {"ingress": {"enabled": True, "host": "a.example"}}}, "networkPolicy"),
        ({"uninstall": {"releaseFinalizers": "no"}}, "releaseFinalizers"),
        ({"extraEnv": [{"nam": "A"}]}, "extraEnv"),
        ({"podAnnotations": {"a": 1}}, "podAnnotations"),
    ],
)
def test_both_helm_versions_reject_a_typo_with_its_location(
    major: Major, values: Values, where: str
) -> None:
    with pytest.raises(RenderError, match=where):
        render(values, major=major)


@pytest.mark.parametrize(
    "values",
    [
        {"logVolume": {"create": True, **OF_ONE_POD}},
        {"console": SHOWS_LOGS, "logVolume": {"create": True}},
        {"console": SHOWS_LOGS, "logVolume": OF_ONE_POD},
        {"console": {"enabled": False, **SHOWS_LOGS}, "logVolume": {"create": True, **OF_ONE_POD}},
    ],
)
def test_a_read_write_once_pod_volume_is_rejected_only_if_the_console_would_mount_it(
    values: Values,
) -> None:
    assert render(values)


def test_a_parent_chart_may_pass_its_globals(major: Major) -> None:
    assert render({"global": {"imageRegistry": "x"}}, major=major)
