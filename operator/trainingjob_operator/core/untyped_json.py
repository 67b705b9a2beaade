"""Reads values of untyped JSON safely, treating a wrong type as absent, and interns repeated values.

The API server validates metadata and, as long as our CRD is installed, the rest. Malformed objects
can still arrive (an older CRD, an edited status, an edit in etcd). They must neither crash the
operator nor be trusted.
"""

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

from trainingjob_web.json_size import decoded_size

_FIRST_YEAR: Final = 1970
_END_OF_YEARS: Final = 9000
_LONGEST_TIME: Final = 40
MAX_INTERNED_TEXTS: Final = 2048
"""Maximum number of interned strings."""
_LONGEST_SHARED: Final = 253
"""Length of the longest name in Kubernetes; longer strings are not interned."""

Shared = TypeVar("Shared")


def as_dict(value: object) -> dict[str, Any]:
    """Return the value if it is a dict, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_dicts(value: object) -> list[dict[str, Any]]:
    """Return the dicts among the value's items if it is a list, else none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def as_str(value: object) -> str:
    """Return the value if it is a string, else the empty string."""
    return value if isinstance(value, str) else ""


def intern_text(value: object) -> str:
    """Return the value as `as_str` does, interned: equal strings are usually one object.

    Names, uids and reasons recur in thousands of jobs, pods and conditions. `sys.intern` is not used
    because early releases of CPython 3.12, such as 3.12.1, never free interned strings.

    Bound: an LRU cache of `MAX_INTERNED_TEXTS` strings of at most `_LONGEST_SHARED` ASCII characters,
    so 1 MiB at most. Longer and evicted strings are not shared.
    """
    if not isinstance(value, str):
        return ""
    return _shared(value) if len(value) <= _LONGEST_SHARED and value.isascii() else value


@lru_cache(maxsize=MAX_INTERNED_TEXTS)
def _shared(value: str) -> str:
    return value


def interned_texts() -> int:
    """Return the number of interned strings."""
    return _shared.cache_info().currsize


def intern_value(value: Shared) -> Shared:
    """Return an equal value that was seen before, or the value itself, so that equal values are shared.

    Bound: an LRU cache of 2,048 values. The caller must ensure that each is small.
    """
    return cast("Shared", _first_equal(value))


@lru_cache(maxsize=2048, typed=True)
def _first_equal(value: object) -> object:
    return value


def as_strs(value: object) -> tuple[str, ...]:
    """Return the strings among the value's items if it is a list, else none."""
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def as_int_or_none(value: object) -> int | None:
    """Return the value if it is an integer (not a bool), else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def as_int(value: object, default: int = 0) -> int:
    """Return the value if it is an integer (not a bool), else the default."""
    found = as_int_or_none(value)
    return default if found is None else found


def as_time(value: object) -> datetime | None:
    """Parse an RFC 3339 time into an aware UTC datetime; None if it is invalid.

    Years before 1970 and from 9000 are also None, so that a deadline can be added to any time without
    overflowing a datetime.
    """
    return _parsed_time(value) if isinstance(value, str) and len(value) <= _LONGEST_TIME else None


@lru_cache(maxsize=1024)  # thousands of jobs change in the same second
def _parsed_time(value: str) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(value)
        parsed = parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return parsed if _FIRST_YEAR <= parsed.year < _END_OF_YEARS else None


def time_text(value: datetime) -> str:
    """Format a time as metav1.Time does: RFC 3339, UTC, whole seconds."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def weight_of_document(document: object) -> int:
    """Return what `decoded_size` says of a document that is decoded already."""
    return decoded_size(
        json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(
            "utf-8", "surrogatepass"
        )
    )
