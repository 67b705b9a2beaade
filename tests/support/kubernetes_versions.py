"""The versions of Kubernetes for which what we make is valid: from the chart's oldest to the one of `hack.cluster`."""

from typing import Any, Final

import kubernetes_validate

SERVED: Final = tuple(f"1.{minor}" for minor in range(32, 38))
OLDEST, NEWEST = SERVED[0], SERVED[-1]


def validate(found: Any, version: str) -> None:
    """Hold an object against a version's schemas; a field that it does not know is an error.

    Raises:
        kubernetes_validate.ValidationError: it is not valid there.
    """
    kubernetes_validate.validate(found, version, strict=True)
