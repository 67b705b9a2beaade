"""The installed version of this program."""

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """Return the version; `unknown` if the package is not installed."""
    try:
        return metadata.version("trainingjob-operator")
    except metadata.PackageNotFoundError:
        return "unknown"
