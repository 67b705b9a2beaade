"""The end of a page of a list, as a word that a client sends to get the next page.

It names the last row by its place in the order, not by counting, so when rows are added in between
none is repeated or lost.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from trainingjob_records.errors import InvalidRecordError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MAX_MICROSECONDS: Final = 250_000_000_000_000_000  # the year 9892
_MAX_UID: Final = 128


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the order: everything that comes after it is older, or equally old."""

    ordered_at: datetime
    uid: str

    def encode(self) -> str:
        """Return it as a word that fits into a query."""
        place = [(self.ordered_at - _EPOCH) // _MICROSECOND, self.uid]
        return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, word: str) -> Self:
        """Read such a word.

        Raises:
            InvalidRecordError: it was not made by `encode`.
        """
        try:
            padded = word + "=" * (-len(word) % 4)
            micros, uid = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        except (ValueError, TypeError, RecursionError, binascii.Error) as error:
            raise InvalidRecordError("cursor: must be the `next` of an earlier answer") from error
        known = type(micros) is int and isinstance(uid, str) and "\0" not in uid
        if not known or not 0 <= micros <= _MAX_MICROSECONDS or len(uid) > _MAX_UID:
            raise InvalidRecordError("cursor: must be the `next` of an earlier answer")
        return cls(_EPOCH + micros * _MICROSECOND, uid)
