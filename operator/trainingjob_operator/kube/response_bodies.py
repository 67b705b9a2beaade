"""Reading the bodies of answers, such that their sum stays small however large each may be.

How large an object is, its user decides. Small answers are read as they come. Of those that turn
out to be large a few are read at once, and the others wait with what the connection holds of them.
"""

import asyncio
import json
from typing import Any, Final

import aiohttp

from trainingjob_api.errors import NotServedError, UnavailableError
from trainingjob_operator.kube.errors import NOT_FOUND
from trainingjob_web.json_size import decoded_size

LARGE: Final = 128 * 1024
"""Weight from which on an answer is large; see `trainingjob_web.json_size`."""

LARGE_AT_ONCE: Final = 4
PAGE_WEIGHT: Final = 16 * 1024 * 1024
"""The most that a page of a list may weigh, unless it is a single object."""

MAX_ITEMS: Final = 250
_LESS: Final = 8
_MORE: Final = 4


class PageTooLargeError(Exception):
    """A page weighs too much; ask for fewer objects. Never leaves the gateway."""


class PageSize:
    """Number of objects of a kind to ask for at once: as many as weigh half a page's most.

    Attributes:
        limit: objects to ask for.
    """

    def __init__(self) -> None:
        self.limit = MAX_ITEMS

    @property
    def most(self) -> int | None:
        """Most that the answer may weigh; None: no limit, as it is one object."""
        return PAGE_WEIGHT if self.limit > 1 else None

    def was_too_large(self, asked: int) -> None:
        """A page of so many objects weighs too much."""
        self.limit = max(asked // _LESS, 1)

    def was(self, objects: int, weight: int) -> None:
        """A page came with so many objects, of so much weight."""
        if objects:
            fitting = max(PAGE_WEIGHT // 2 * objects // max(weight, 1), 1)
            self.limit = min(fitting, _MORE * self.limit, MAX_ITEMS)


class BodyReader:
    """Reads bodies. Bound: `LARGE_AT_ONCE` large ones at once; whoever is further on waits."""

    def __init__(self) -> None:
        self._large: Final = asyncio.Semaphore(LARGE_AT_ONCE)

    async def read(
        self, response: aiohttp.ClientResponse, *, most: int | None = None
    ) -> tuple[bytes, int]:
        """Read a body to its end.

        Args:
            response: its headers are there.
            most: what it may weigh; None: anything.

        Returns:
            The body, and its weight.

        Raises:
            PageTooLargeError: it weighs more; the connection is closed.
        """
        try:
            return await self._read(response, most)
        except BaseException:
            response.close()  # it may not be used again with half a body on its way
            raise

    async def _read(self, response: aiohttp.ClientResponse, most: int | None) -> tuple[bytes, int]:
        parts: list[bytes] = []
        weight = 0
        async for part in response.content.iter_any():
            parts.append(part)
            weight += decoded_size(part)
            if weight > LARGE:
                async with self._large:
                    return await self._read_on(response, parts, weight, most)
        return b"".join(parts), weight

    async def _read_on(
        self, response: aiohttp.ClientResponse, parts: list[bytes], weight: int, most: int | None
    ) -> tuple[bytes, int]:
        while most is None or weight <= most:
            part = await response.content.readany()
            if not part:
                return b"".join(parts), weight
            parts.append(part)
            weight += decoded_size(part)
        raise PageTooLargeError


def decode_object(data: bytes, request: str) -> dict[str, Any]:
    """The object that a body holds.

    Raises:
        UnavailableError: it holds none; the message names the request.
    """
    try:
        document = json.loads(data)
    except ValueError as error:
        raise UnavailableError(f"{request} was not answered in JSON") from error
    if not isinstance(document, dict):
        raise UnavailableError(f"{request} was not answered with an object")
    return document


def require_list(document: dict[str, Any] | None, path: str) -> dict[str, Any]:
    """Return an answer that is a list. Of anything else it is not known what it leaves out."""
    if document is None:
        raise NotServedError(f"404 on GET {path}", status=NOT_FOUND, reason="NotServed")
    if "items" not in document:
        raise UnavailableError(f"GET {path} was not answered with a list")
    return document


def require_created(created: dict[str, Any] | None, path: str) -> dict[str, Any]:
    """Return what a creation was answered with.

    Raises:
        UnavailableError: nothing: the namespace, or the kind, is not there.
    """
    if created is None:
        raise UnavailableError(f"404 on POST {path}", status=NOT_FOUND, reason="NotFound")
    return created
