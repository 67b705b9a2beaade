"""The only reader of the wall clock; everything else is given `now`."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)
