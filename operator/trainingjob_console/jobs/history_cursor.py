"""The cursor of the history, encrypted: it may contain the uid of a job that the user may not see."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from trainingjob_console.errors import BadRequestError
from trainingjob_console.jobs.cursor_encryption import decrypt, encrypt
from trainingjob_console.jobs.summary import Object, as_text

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

Key = tuple[int, str]
"""The sort key of the record service's list: microseconds since 1970 and uid, both descending."""


def key_of(record: Object) -> Key:
    """Return the sort key of a record: its end time, else its creation time, as the service sorts."""
    for name in ("completedAt", "createdAt"):
        try:
            time = datetime.fromisoformat(as_text(record.get(name)))
        except ValueError:
            continue
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        return (time - _EPOCH) // _MICROSECOND, as_text(record.get("uid"))
    return 0, as_text(record.get("uid"))


@dataclass(frozen=True, slots=True)
class HistoryCursor:
    """A position in the history.

    Attributes:
        service_cursor: the record service's own cursor of the page to read; empty: the first page.
        after: the sort key of the last row that was returned; None: there is none. That row is usually on
            this page of the service or an earlier one. If the earlier pages were larger, it may also be
            on a later one.
    """

    service_cursor: str = ""
    after: Key | None = None

    def is_before(self, record: Object) -> bool:
        """Return True if the record comes after the last returned row."""
        return self.after is None or key_of(record) < self.after

    def encode(self, secret: bytes) -> str:
        """Return the cursor as an encrypted string."""
        state = json.dumps([self.service_cursor, self.after], separators=(",", ":"))
        return encrypt(secret, state)

    @classmethod
    def decode(cls, secret: bytes, text: str) -> "HistoryCursor":
        """Decrypt a cursor; an empty one is the beginning.

        Raises:
            BadRequestError: it was not made by a console with this secret.
        """
        if not text:
            return cls()
        try:
            cursor, after = json.loads(decrypt(secret, text))
        except ValueError as error:
            raise BadRequestError("cursor: no longer valid: go to the first page") from error
        return cls(cursor, tuple(after) if after is not None else None)
