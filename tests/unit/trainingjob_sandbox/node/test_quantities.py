"""Quantities are parsed, requests summed, and a pod that can never fit is unschedulable."""

from decimal import Decimal
from typing import Any

import pytest

from trainingjob_sandbox.node.binder import unschedulable_reason
from trainingjob_sandbox.node.quantities import parse, pod_requests

CAPACITY = {"cpu": "2", "memory": "4Gi", "pods": "110"}
LABELS = {"kubernetes.io/hostname": "n"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        (2, 2),
        ("500m", Decimal("0.5")),
        ("1.5Gi", 3 * 2**29),
        ("1e3", 1000),
        ("2M", 2_000_000),
        ("1E", 10**18),
        ("100n", Decimal("1e-7")),
    ],
)
def test_a_quantity_is_a_number(text: object, expected: object) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["", "x", "1 Gi", "1Zi", "1.2.3", None])
def test_an_invalid_quantity_is_an_error(text: object) -> None:
    with pytest.raises(ValueError, match="is not a valid quantity"):
        parse(text)


def test_a_pods_request_is_the_sum_of_its_containers_or_its_largest_init_container() -> None:
    spec = {
        "initContainers": [{"resources": {"requests": {"cpu": "3", "memory": "1"}}}],
        "containers": [
            {"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2", "memory": "5"}}},
            {"resources": {"limits": {"cpu": "500m"}}},
        ],
    }

    assert pod_requests(spec) == {"cpu": 3, "memory": 5}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"containers": [{"resources": {"limits": {"cpu": "2"}}}]}, ""),
        (
            {"containers": [{"resources": {"limits": {"cpu": "2100m"}}}]},
            "0/1 nodes are available: 1 Insufficient cpu.",
        ),
        (
            {"containers": [{"resources": {"limits": {"nvidia.com/gpu": 1, "memory": "5Gi"}}}]},
            "0/1 nodes are available: 1 Insufficient memory, 1 Insufficient nvidia.com/gpu.",
        ),
        ({"nodeSelector": {"kubernetes.io/hostname": "n"}}, ""),
        (
            {"nodeSelector": {"gpu": "yes"}},
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
        ),
    ],
)
def test_a_pod_that_can_never_fit_gets_the_schedulers_message(
    spec: dict[str, Any], message: str
) -> None:
    assert unschedulable_reason(spec, CAPACITY, LABELS) == message
