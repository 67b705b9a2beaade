"""Continue tokens and snapshots of paged lists: every page shows the collection at the same revision."""

import base64
import binascii
import json
from collections import OrderedDict
from typing import Final, NamedTuple

from trainingjob_sandbox.apiserver import errors
from trainingjob_sandbox.apiserver.storage import CollectionId, Key, Stored

MAX_SNAPSHOTS: Final = 32
"""Maximum paged lists in progress; the least recently used one expires first (LRU)."""

_VERSION: Final = "meta.k8s.io/v1"


class Token(NamedTuple):
    """A continue token.

    Attributes:
        revision: the revision of the list.
        after: the last key of the previous page.
    """

    revision: int
    after: Key

    def encode(self) -> str:
        """Encode the token for the client."""
        start = f"{self.after.namespace}/{self.after.name}\0"
        text = json.dumps({"v": _VERSION, "rv": self.revision, "start": start})
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "Token":
        """Decode a token.

        Raises:
            ApiError: 400, it is not valid.
        """
        try:
            padded = text + "=" * (-len(text) % 4)
            fields = json.loads(base64.urlsafe_b64decode(padded))
            namespace, _, name = fields["start"].removesuffix("\0").partition("/")
            return cls(int(fields["rv"]), Key(namespace, name))
        except (binascii.Error, ValueError, KeyError, TypeError, AttributeError) as error:
            raise errors.bad_request(
                f"invalid continue token: continue key is not valid: {error}"
            ) from error


class Snapshots:
    """Snapshots of collections for the paged lists in progress."""

    def __init__(self) -> None:
        self._taken: OrderedDict[tuple[CollectionId, int], list[Stored]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, where: CollectionId, revision: int, objects: list[Stored]) -> None:
        """Store a snapshot of a collection for later pages."""
        self._taken[where, revision] = objects
        self._taken.move_to_end((where, revision))
        while len(self._taken) > MAX_SNAPSHOTS:
            self._taken.popitem(last=False)

    def recall(self, where: CollectionId, revision: int) -> list[Stored]:
        """Return the snapshot of a list in progress.

        Raises:
            ApiError: 410, it has been evicted.
        """
        objects = self._taken.get((where, revision))
        if objects is None:
            raise errors.expired(
                "The provided continue parameter is too old to display a consistent list "
                "result. You must start a new list without the continue parameter."
            )
        self._taken.move_to_end((where, revision))
        return objects

    def clear(self) -> None:
        """Expire every token."""
        self._taken.clear()
