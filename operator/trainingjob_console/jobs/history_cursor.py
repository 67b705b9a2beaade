"""The place where the next page of the history begins, sealed: it may name a job of another user."""

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
"""The place of a record in the service's list: microseconds since 1970 and uid, both falling."""


def key_of(record: Object) -> Key:
    """Return the place of a record: by its end, else by its creation, as the service has it."""
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
    """A place in the history.

    Attributes:
        cursor: the record service's own, of the page to read; empty: the first one.
        after: the row that was shown last, on that page or before it; None: there is none. It may
            be on a later page, too, when the service's pages were larger then.
    """

    cursor: str = ""
    after: Key | None = None

    def is_before(self, record: Object) -> bool:
        """Return True if a record of the page has not been looked at."""
        return self.after is None or key_of(record) < self.after

    def encode(self, secret: bytes) -> str:
        """Return it as a sealed word."""
        return encrypt(secret, json.dumps([self.cursor, self.after], separators=(",", ":")))

    @classmethod
    def decode(cls, secret: bytes, word: str) -> "HistoryCursor":
        """Read such a word; an empty one is the beginning.

        Raises:
            BadRequestError: no console with this secret has made it.
        """
        if not word:
            return cls()
        try:
            cursor, after = json.loads(decrypt(secret, word))
        except ValueError as error:
            raise BadRequestError("cursor: is not known any more: go to the first page") from error
        return cls(cursor, tuple(after) if after is not None else None)
