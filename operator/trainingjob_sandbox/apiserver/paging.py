"""Lists in pages: every page of a list shows the collection as it was at the first one."""

import base64
import binascii
import json
from collections import OrderedDict
from typing import Final, NamedTuple

from trainingjob_sandbox.apiserver import errors
from trainingjob_sandbox.apiserver.storage import CollectionId, Key, Stored

MAX_SNAPSHOTS: Final = 32
"""Lists that may be under way at once; the least recently used expires first."""

_VERSION: Final = "meta.k8s.io/v1"


class Token(NamedTuple):
    """The place where a list goes on.

    Attributes:
        revision: the revision of the list.
        after: the last key of the page before.
    """

    revision: int
    after: Key

    def encode(self) -> str:
        """Write the token as clients carry it."""
        start = f"{self.after.namespace}/{self.after.name}\0"
        text = json.dumps({"v": _VERSION, "rv": self.revision, "start": start})
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "Token":
        """Read a token.

        Raises:
            ApiError: 400, it is not one of ours.
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
    """The collections that paged lists are reading, as they were at the lists' revisions."""

    def __init__(self) -> None:
        self._taken: OrderedDict[tuple[CollectionId, int], list[Stored]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, where: CollectionId, revision: int, objects: list[Stored]) -> None:
        """Keep a collection's objects for the pages to come."""
        self._taken[where, revision] = objects
        self._taken.move_to_end((where, revision))
        while len(self._taken) > MAX_SNAPSHOTS:
            self._taken.popitem(last=False)

    def recall(self, where: CollectionId, revision: int) -> list[Stored]:
        """Return the objects of a list under way.

        Raises:
            ApiError: 410, they have been forgotten.
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
