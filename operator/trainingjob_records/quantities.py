"""Parses durations and sizes in settings: `400d`, `80%`, `20Gi`."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

_AGE: Final = re.compile(r"(\d{1,9})(s|m|h|d)?")
_SIZE: Final = re.compile(r"(\d{1,18})(Ki|Mi|Gi|Ti)?")
_PERCENT: Final = re.compile(r"([1-9]\d?)%")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MULTIPLES: Final = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


@dataclass(frozen=True, slots=True)
class SizeLimit:
    """A size limit in bytes, or in percent of the volume; both 0: no limit."""

    size: int = 0
    percent: int = 0

    def of(self, total: int | None) -> int | None:
        """Return the limit in bytes on a volume of this size; None: no limit."""
        if self.percent:
            return total * self.percent // 100 if total else None
        return self.size or None


def parse_age(text: str) -> timedelta:
    """Parse an age; 0 means that records never expire.

    Raises:
        ValueError: the text is not an age.
    """
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise ValueError("must be an age like 400d, 12h or 0")
    try:
        return timedelta(seconds=int(match[1]) * _UNITS[match[2] or "s"])
    except OverflowError as error:
        raise ValueError("must be an age like 400d, 12h or 0") from error


def parse_size(text: str) -> SizeLimit:
    """Parse a size limit.

    Raises:
        ValueError: the text is not a size.
    """
    if match := _PERCENT.fullmatch(text.strip()):
        return SizeLimit(percent=int(match[1]))
    if match := _SIZE.fullmatch(text.strip()):
        return SizeLimit(size=int(match[1]) * _MULTIPLES[match[2] or ""])
    raise ValueError("must be a size like 80%, 20Gi or 0")
