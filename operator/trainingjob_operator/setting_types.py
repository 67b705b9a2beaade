"""Types of settings: parse sizes, addresses, comma-separated lists and names of namespaces.

Durations are parsed by `trainingjob_web.env_settings`.
"""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator

from trainingjob_api.errors import SettingsError
from trainingjob_web.env_settings import parse_duration

LABEL_PATTERN: Final = (
    r"^(([a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?)?$"
)
NAMESPACE_PATTERN: Final = r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$"
LEASE_PATTERN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_MAX_PORT: Final = 65535
_MAX_ECHO: Final = 63
_SIZES: Final = {
    "": 1,
    **{f"{unit}i": 1024**power for power, unit in enumerate("KMGTP", start=1)},
    **{unit: 1000**power for power, unit in enumerate("kMGTP", start=1)},
}


def parse_size(value: object) -> object:
    """Return bytes from `1048576`, `500Gi` or `2T`; other types as they are."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGTP]i|[kMGTP]|)\s*", value)
    if match is None:
        raise ValueError(
            "must be bytes or a number with Ki, Mi, Gi, Ti, Pi, k, M, G, T or P, like 500Gi"
        )
    return int(float(match[1]) * _SIZES[match[2]])


def _split_commas(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _validate_address(value: str) -> str:
    match = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]*):([0-9]{1,5})", value)
    if match is None or int(match[1]) > _MAX_PORT:
        raise ValueError(f"must be host:port with a port up to {_MAX_PORT}, like 0.0.0.0:8080")
    return value


def _validate_optional_address(value: str) -> str:
    return _validate_address(value) if value else value


def _validate_namespaces(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names without duplicates. Patterns, as kopf allows, are rejected: lists take none."""
    for value in values:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", value):
            raise ValueError(
                f"{value[:_MAX_ECHO]!r} is not the name of a namespace; write whole names, "
                "separated by commas, or leave it empty for all"
            )
    return tuple(dict.fromkeys(values))


def check_namespaces(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command's namespaces without duplicates.

    Raises:
        SettingsError: one of them is not the name of a namespace.
    """
    try:
        return _validate_namespaces(values)
    except ValueError as error:
        raise SettingsError(str(error)) from None


Seconds = Annotated[float, BeforeValidator(parse_duration)]
Bytes = Annotated[int, BeforeValidator(parse_size)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]
Namespaces = Annotated[Names, AfterValidator(_validate_namespaces)]
Address = Annotated[str, AfterValidator(_validate_address)]
OptionalAddress = Annotated[str, AfterValidator(_validate_optional_address)]
