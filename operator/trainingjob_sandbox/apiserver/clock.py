"""The server's clock, RFC 3339 timestamps, and ages as `kubectl get` shows them."""

from datetime import UTC, datetime, timedelta
from typing import Final

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_YEAR: Final = 365 * _DAY


def now() -> datetime:
    """Return the current time as an aware UTC datetime."""
    return datetime.now(UTC)


def timestamp(moment: datetime) -> str:
    """Format a time as in API objects: RFC 3339, whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def in_seconds(seconds: int, start: datetime) -> str:
    """Return the timestamp of `start` plus some seconds."""
    return timestamp(start + timedelta(seconds=seconds))


def age(text: object, at: datetime) -> str:
    """Return the time since a timestamp, in the short form of `kubectl get`."""
    if not isinstance(text, str) or not text:
        return "<unknown>"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return "<invalid>"
    return duration((at - moment).total_seconds())


def duration(seconds: float) -> str:
    """Format a duration in at most two units, as `kubectl get` does."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    if total < 2 * _MINUTE:
        return f"{max(total, 0)}s"
    return _two_units(total)


def _two_units(total: int) -> str:
    # Below the first bound both units are shown, below the second one only the larger unit.
    scales = (
        (_MINUTE, "m", 1, "s", 10 * _MINUTE, 3 * _HOUR),
        (_HOUR, "h", _MINUTE, "m", 8 * _HOUR, 2 * _DAY),
        (_DAY, "d", _HOUR, "h", 8 * _DAY, 2 * _YEAR),
        (_YEAR, "y", _DAY, "d", 8 * _YEAR, None),
    )
    for unit, sign, smaller, smaller_sign, both_below, below in scales:
        large, rest = divmod(total, unit)
        small = rest // smaller
        if total < both_below and small:
            return f"{large}{sign}{small}{smaller_sign}"
        if below is None or total < below:
            return f"{large}{sign}"
    raise AssertionError
