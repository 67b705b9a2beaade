"""The only module that reads the wall clock; other code receives `now`."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the current time in UTC, with its time zone."""
    return datetime.now(UTC)
