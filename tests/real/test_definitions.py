"""Both CRDs on a real API server, applied by an administrator with `kubectl apply`."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hack.cluster.control_plane import Options
from tests.support.real.chart import forget_definitions
from tests.support.real.real_cluster import (
    CRDS,
    Kubectl,
    new_control_plane,
    wait_until_established,
)

pytestmark = pytest.mark.real_only

PLAIN = ("apply", "-f", str(CRDS))
SERVER_SIDE = ("apply", "--server-side", "-f", str(CRDS))
ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
MOST_BYTES_OF_ANNOTATIONS = 262144
NAMES = ["retentionpolicies.trainingjob.dev", "trainingjobs.trainingjob.dev"]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """Start a control plane for this module: its tests create and delete CRDs, which affects every client."""
    folder = tmp_path_factory.mktemp("bare")
    with new_control_plane(folder / "state", Options(scheduler=False)) as plane:
        yield Kubectl(plane.kubeconfig, folder / "kubectl-cache")


@pytest.fixture
def kubectl(bare: Kubectl) -> Iterator[Kubectl]:
    """Return kubectl on a cluster without the project's CRDs."""
    yield bare
    forget_definitions(bare.kubeconfig)


def outcome(printed: str) -> list[str]:
    return [line.rpartition(" ")[2] for line in printed.splitlines()]


def definitions(kubectl: Kubectl) -> list[dict[str, Any]]:
    found = json.loads(kubectl("get", "crd", "-o", "json"))["items"]
    return sorted(found, key=lambda crd: str(crd["metadata"]["name"]))


def test_client_side_apply_works_and_is_unchanged_the_second_time(kubectl: Kubectl) -> None:
    assert outcome(kubectl(*PLAIN)) == ["created", "created"]
    assert outcome(kubectl(*PLAIN)) == ["unchanged", "unchanged"]

    for crd in definitions(kubectl):
        applied = crd["metadata"]["annotations"][ANNOTATION]
        # A quarter is left for what the schema of the next Kubernetes brings.
        assert len(applied.encode()) < MOST_BYTES_OF_ANNOTATIONS * 3 / 4


def test_server_side_apply_works(kubectl: Kubectl) -> None:
    assert outcome(kubectl(*SERVER_SIDE)) == ["serverside-applied"] * 2
    assert outcome(kubectl(*SERVER_SIDE)) == ["serverside-applied"] * 2

    assert [crd["metadata"]["generation"] for crd in definitions(kubectl)] == [1, 1]


def test_server_side_apply_takes_over_after_client_side_apply(kubectl: Kubectl) -> None:
    kubectl(*PLAIN)

    assert outcome(kubectl(*SERVER_SIDE)) == ["serverside-applied"] * 2


def test_client_side_apply_takes_over_after_server_side_apply(kubectl: Kubectl) -> None:
    kubectl(*SERVER_SIDE)

    done = kubectl.run(*PLAIN)

    assert done.returncode == 0
    warnings = done.stderr.strip().splitlines()
    assert len(warnings) == 2, done.stderr  # kubectl's own, about what it always does then
    assert all(ANNOTATION in warning for warning in warnings), done.stderr
    assert outcome(done.stdout) == ["configured", "configured"]


def test_the_crds_are_established_structural_and_have_their_names_accepted(
    kubectl: Kubectl,
) -> None:
    kubectl(*PLAIN)
    wait_until_established(kubectl)

    found = definitions(kubectl)

    assert [crd["metadata"]["name"] for crd in found] == NAMES
    for crd in found:
        conditions = {c["type"]: c["status"] for c in crd["status"]["conditions"]}
        # Neither NonStructuralSchema nor anything else that there is to complain about.
        assert conditions == {"NamesAccepted": "True", "Established": "True"}
        assert crd["status"]["acceptedNames"] == crd["spec"]["names"]
        assert crd["status"]["storedVersions"] == ["v1alpha1"]
