"""Encodes the position of a list page as an opaque cursor (keyset pagination).

A cursor holds the sort key of the page's last row and not an offset, so no row is repeated or lost
when rows are added in between.
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
    """A position in the sort order: every later row is older, or equally old."""

    ordered_at: datetime
    uid: str

    def encode(self) -> str:
        """Return the cursor as a string that can be a query parameter."""
        position = [(self.ordered_at - _EPOCH) // _MICROSECOND, self.uid]
        return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Self:
        """Decode a cursor.

        Raises:
            InvalidRecordError: the text was not made by `encode`.
        """
        try:
            padded = text + "=" * (-len(text) % 4)
            micros, uid = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        except (ValueError, TypeError, RecursionError, binascii.Error) as error:
            raise InvalidRecordError("cursor: must be the `next` of an earlier page") from error
        known = type(micros) is int and isinstance(uid, str) and "\0" not in uid
        if not known or not 0 <= micros <= _MAX_MICROSECONDS or len(uid) > _MAX_UID:
            raise InvalidRecordError("cursor: must be the `next` of an earlier page")
        return cls(_EPOCH + micros * _MICROSECOND, uid)
