"""Supported Kubernetes versions, from the chart's minimum to the one of `hack.cluster`; validates objects against their schemas."""

from typing import Any, Final

import kubernetes_validate

SERVED: Final = tuple(f"1.{minor}" for minor in range(32, 38))
OLDEST, NEWEST = SERVED[0], SERVED[-1]


def validate(found: Any, version: str) -> None:
    """Validate an object against a version's schemas; an unknown field is an error.

    Raises:
        kubernetes_validate.ValidationError: the object is invalid for that version.
    """
    kubernetes_validate.validate(found, version, strict=True)
