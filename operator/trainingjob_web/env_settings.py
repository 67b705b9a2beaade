"""Maps environment variables to settings fields, and explains invalid ones; parses durations.

This module does not read the environment: each program's settings module does, and passes it here.
"""

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Final

from pydantic import ValidationError

_SERVICE_LINK: Final = re.compile(
    r"(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""Matches variables that Kubernetes sets for a Service whose name begins with a program's prefix."""

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def names_of(prefix: str, fields: Collection[str]) -> list[str]:
    """Return the names of the environment variables of these fields."""
    return [f"{prefix}{field}".upper() for field in fields]


def is_ours(name: str, prefix: str) -> bool:
    """Return True if this name has the program's prefix and is not a Service's variable."""
    return name.startswith(prefix) and not _SERVICE_LINK.fullmatch(name.removeprefix(prefix))


def values_of(
    variables: Mapping[str, str], prefix: str, fields: Collection[str]
) -> dict[str, str]:
    """Return the values of these fields by field name; an empty variable counts as unset.

    Raises:
        ValueError: a variable has the prefix but is unknown; the message is a sentence that names it
            and suggests a similar one.
    """
    names = names_of(prefix, fields)
    values = {}
    for name, value in variables.items():
        if not value or not is_ours(name, prefix):
            continue
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"{name} is no setting of this version{hint}")
        values[name.removeprefix(prefix).lower()] = value
    return values


def explain(error: ValidationError, prefix: str) -> str:
    """Return the validation errors as sentences that name the variables, never a value."""
    sentences = []
    for fault in error.errors(include_url=False, include_input=False):
        name = "_".join(str(part) for part in fault["loc"]).upper()
        message = fault["msg"].removeprefix("Value error, ")
        sentences.append(f"{prefix}{name}: {message}" if name else message)
    return "; ".join(sentences)


def parse_duration(value: object) -> object:
    """Parse `600`, `90s`, `15m`, `24h` or `7d` to seconds; return values of other types unchanged.

    Raises:
        ValueError: the text is not a duration; the message describes a valid one.
    """
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", value)
    if match is None:
        raise ValueError("must be seconds or a number with s, m, h or d, like 90s, 15m, 24h, 7d")
    return float(match[1]) * _UNITS[match[2]]
