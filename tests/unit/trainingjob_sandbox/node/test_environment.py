"""The environment variables of a container, and the expansion of `$(NAME)`."""

from typing import Any

import pytest

from trainingjob_sandbox.node.environment import (
    ConfigError,
    PodPlacement,
    Sources,
    container_variables,
    expand,
)

PLACEMENT = PodPlacement(
    node="n", pod_ip="127.64.0.1", host_ip="127.0.0.1", capacity={"cpu": "4", "memory": "8Gi"}
)
POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app.io/a": "b"}},
    "spec": {"containers": []},
}
SOURCES = Sources(
    configmaps={"settings": {"rate": b"0.1", "mode": b"fast"}}, secrets={"keys": {"token": b"s3"}}
)


def variables(container: dict[str, Any], sources: Sources = SOURCES) -> dict[str, str]:
    return container_variables(POD, container, sources, PLACEMENT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("$()", "$()"),
        ("cost: $5", "cost: $5"),
    ],
)
def test_expansion_is_the_one_of_kubernetes(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


def test_a_value_may_refer_only_to_earlier_variables() -> None:
    env = [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)$(C)"},
        {"name": "C", "value": "3"},
    ]

    assert variables({"env": env}) == {"A": "1", "B": "1$(C)", "C": "3"}


def test_env_overrides_env_from_and_a_prefix_is_put_before_its_keys() -> None:
    container = {
        "envFrom": [
            {"configMapRef": {"name": "settings"}, "prefix": "S_"},
            {"secretRef": {"name": "keys"}},
        ],
        "env": [{"name": "S_mode", "value": "slow"}],
    }

    assert variables(container) == {"S_rate": "0.1", "S_mode": "slow", "token": "s3"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "p"),
        ("metadata.namespace", "ns"),
        ("metadata.uid", "u"),
        ("metadata.labels['app.io/a']", "b"),
        ("metadata.annotations['none']", ""),
        ("spec.nodeName", "n"),
        ("spec.serviceAccountName", "default"),
        ("status.podIP", "127.64.0.1"),
        ("status.hostIP", "127.0.0.1"),
    ],
)
def test_the_downward_api_says(path: str, expected: str) -> None:
    env = [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}]

    assert variables({"env": env}) == {"X": expected}


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [
        ("limits.cpu", None, "2"),
        ("limits.cpu", "1m", "1500"),
        ("limits.memory", "1Mi", "512"),
        ("requests.cpu", None, "2"),
        ("limits.ephemeral-storage", None, "0"),
    ],
)
def test_resources_are_rounded_up_to_their_divisor(
    resource: str, divisor: str | None, expected: str
) -> None:
    reference = {"resource": resource} | ({"divisor": divisor} if divisor else {})
    container = {
        "resources": {"limits": {"cpu": "1500m", "memory": "512Mi"}},
        "env": [{"name": "X", "valueFrom": {"resourceFieldRef": reference}}],
    }

    assert variables(container) == {"X": expected}


def test_the_limit_of_a_container_without_one_is_the_nodes_capacity() -> None:
    env = [{"name": "X", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]

    assert variables({"env": env}) == {"X": "4"}


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "k"}}, 'configmap "none" not found'),
        ({"secretKeyRef": {"name": "none", "key": "k"}}, 'secret "none" not found'),
        (
            {"configMapKeyRef": {"name": "settings", "key": "k"}},
            "couldn't find key k in ConfigMap ns/settings",
        ),
        ({"fieldRef": {"fieldPath": "spec.priority"}}, "fieldPath 'spec.priority'"),
        ({"somethingElse": {}}, "valueFrom is not supported here: somethingElse"),
    ],
)
def test_a_missing_source_is_an_error_that_names_it(
    reference: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        variables({"env": [{"name": "X", "valueFrom": reference}]})


def test_an_optional_source_may_be_missing() -> None:
    container = {
        "envFrom": [{"configMapRef": {"name": "none", "optional": True}}],
        "env": [
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "none", "optional": True}}},
            {
                "name": "B",
                "valueFrom": {
                    "configMapKeyRef": {"name": "settings", "key": "k", "optional": True}
                },
            },
        ],
    }

    assert variables(container) == {}


def test_names_of_ranks_are_resolved_in_literal_values_only() -> None:
    container = {
        "env": [
            {"name": "ADDR", "value": "p"},
            {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ]
    }

    found = container_variables(
        POD, container, SOURCES, PLACEMENT, {"p": "127.64.0.1"}.__getitem__
    )

    assert found == {"ADDR": "127.64.0.1", "ME": "p"}
