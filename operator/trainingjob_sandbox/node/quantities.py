"""Parses Kubernetes resource quantities (`500m`, `2`, `1.5Gi`, `1e3`), and sums a pod's requests."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

_PATTERN: Final = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?\d+)?)([KMGTPE]i|[numkMGTPE]?)")
_FACTORS: Final[Mapping[str, Decimal]] = {
    **{suffix: Decimal(10) ** power for suffix, power in zip("num", (-9, -6, -3), strict=True)},
    **{suffix: Decimal(1000) ** (i + 1) for i, suffix in enumerate("kMGTPE")},
    **{f"{suffix}i": Decimal(1024) ** (i + 1) for i, suffix in enumerate("KMGTPE")},
    "": Decimal(1),
}


def parse(quantity: Any) -> Decimal:
    """Return a quantity as a number.

    Raises:
        ValueError: not a valid quantity.
    """
    match = _PATTERN.fullmatch(str(quantity))
    try:
        assert match is not None
        return Decimal(match[1]) * _FACTORS[match[2]]
    except (AssertionError, ArithmeticError) as error:
        raise ValueError(f"{quantity!r} is not a valid quantity") from error


def pod_requests(spec: Mapping[str, Any]) -> dict[str, Decimal]:
    """Return a pod's requests by resource: the sum of its containers, or the largest init container.

    A limit without a request counts as the request, as the API server defaults it.
    """
    together: dict[str, Decimal] = {}
    for container in spec.get("containers") or []:
        for name, amount in _requests(container).items():
            together[name] = together.get(name, Decimal(0)) + amount
    for container in spec.get("initContainers") or []:
        for name, amount in _requests(container).items():
            together[name] = max(together.get(name, Decimal(0)), amount)
    return together


def _requests(container: Mapping[str, Any]) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    wanted = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: parse(amount) for name, amount in wanted.items()}
