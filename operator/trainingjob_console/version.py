"""The version of this program, as it was installed."""

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """Return the version; `unknown` from a tree that is not installed."""
    try:
        return metadata.version("trainingjob-operator")
    except metadata.PackageNotFoundError:
        return "unknown"
