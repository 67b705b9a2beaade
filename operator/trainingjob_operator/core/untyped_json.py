"""Reading untyped objects without trusting them: a wrong type is an absent value.

The API server checks the metadata and, while its CRD is ours, the rest. What reaches the operator
past that (an older CRD, an edited status, an edit of the store) must neither crash it nor be
believed.
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
"""Texts that are kept to be shared at most."""
_LONGEST_SHARED: Final = 253
"""Characters of the longest name that Kubernetes has."""

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
    """Read as `as_str`, and equal texts are one object, as a rule.

    Names, uids and reasons recur in jobs, pods and conditions, and there are thousands of those.
    `sys.intern` would keep each of them for ever: early releases of CPython 3.12, like 3.12.1,
    never free one.

    Bound: the `MAX_INTERNED_TEXTS` texts that were seen last, of `_LONGEST_SHARED` ASCII characters each,
    so 1 MiB at most. A text that was forgotten, or is longer, is a copy of its
    own in whatever is built next from it.
    """
    if not isinstance(value, str):
        return ""
    return _shared(value) if len(value) <= _LONGEST_SHARED and value.isascii() else value


@lru_cache(maxsize=MAX_INTERNED_TEXTS)
def _shared(value: str) -> str:
    return value


def interned_texts() -> int:
    """Return how many texts are kept to be shared."""
    return _shared.cache_info().currsize


def intern_value(value: Shared) -> Shared:
    """Return the value, or an equal one that was seen before: what many say alike is one object.

    Bound: the 2,048 values that were seen last. The caller sees to it that each is small.
    """
    return cast("Shared", _first_equal(value))


@lru_cache(maxsize=2048, typed=True)
def _first_equal(value: object) -> object:
    return value


def as_strs(value: object) -> tuple[str, ...]:
    """Return the strings among the value's items if it is a list, else none."""
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def as_int_or_none(value: object) -> int | None:
    """Return the value if it is a whole number (and no bool), else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def as_int(value: object, default: int = 0) -> int:
    """Return the value if it is a whole number (and no bool), else the default."""
    found = as_int_or_none(value)
    return default if found is None else found


def as_time(value: object) -> datetime | None:
    """Read an RFC 3339 time as an aware UTC datetime, or None.

    None, too, outside the years that a cluster can have seen, so that a deadline can be added to
    any time without leaving what a datetime can hold.
    """
    return _parsed_time(value) if isinstance(value, str) and len(value) <= _LONGEST_TIME else None


@lru_cache(maxsize=1024)  # thousands of jobs share the seconds in which they changed
def _parsed_time(value: str) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(value)
        parsed = parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return parsed if _FIRST_YEAR <= parsed.year < _END_OF_YEARS else None


def time_text(value: datetime) -> str:
    """Write a time as metav1.Time does: RFC 3339, UTC, whole seconds."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def weight_of_document(document: object) -> int:
    """Return what `decoded_size` says of a document that is decoded already."""
    return decoded_size(
        json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(
            "utf-8", "surrogatepass"
        )
    )
