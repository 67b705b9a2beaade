"""Reads response bodies with bounded memory: a semaphore limits how many large ones are read at once.

Users decide how large objects are. Small responses are read immediately. Of the responses that turn
out to be large, a few are read at once; the others wait, and the rest of each stays in its
connection.
"""

import asyncio
import json
from typing import Any, Final

import aiohttp

from trainingjob_api.errors import NotServedError, UnavailableError
from trainingjob_operator.kube.errors import NOT_FOUND
from trainingjob_web.json_size import decoded_size

LARGE: Final = 128 * 1024
"""Responses above this weight (estimated decoded bytes, see `trainingjob_web.json_size`) are large."""

LARGE_AT_ONCE: Final = 4
PAGE_WEIGHT: Final = 16 * 1024 * 1024
"""Limit of the weight of a list page; a page of a single object may exceed it."""

MAX_ITEMS: Final = 250
_LESS: Final = 8
_MORE: Final = 4


class PageTooLargeError(Exception):
    """A page weighs too much; ask for fewer objects. The gateway handles it and never raises it."""


class PageSize:
    """Adapts the `limit` of list requests for one kind, aiming at half of `PAGE_WEIGHT` for a page.

    Attributes:
        limit: number of objects to ask for.
    """

    def __init__(self) -> None:
        self.limit = MAX_ITEMS

    @property
    def max_weight(self) -> int | None:
        """Weight limit of the next page; None: no limit, because it is a single object."""
        return PAGE_WEIGHT if self.limit > 1 else None

    def shrink(self, asked: int) -> None:
        """Reduce the limit: a page of `asked` objects weighed too much."""
        self.limit = max(asked // _LESS, 1)

    def adapt(self, objects: int, weight: int) -> None:
        """Adapt the limit to a page that was received, with this many objects of this weight."""
        if objects:
            fitting = max(PAGE_WEIGHT // 2 * objects // max(weight, 1), 1)
            self.limit = min(fitting, _MORE * self.limit, MAX_ITEMS)


class ResponseReader:
    """Reads response bodies. Bound: `LARGE_AT_ONCE` large ones at once; the others wait."""

    def __init__(self) -> None:
        self._large: Final = asyncio.Semaphore(LARGE_AT_ONCE)

    async def read(
        self, response: aiohttp.ClientResponse, *, max_weight: int | None = None
    ) -> tuple[bytes, int]:
        """Read a body to its end.

        Args:
            response: a response whose headers were received.
            max_weight: limit of the body's weight; None: no limit.

        Returns:
            The body, and its weight.

        Raises:
            PageTooLargeError: the body weighs more; the connection is closed.
        """
        try:
            return await self._read(response, max_weight)
        except BaseException:
            response.close()  # a connection with an unread rest of a body must not be reused
            raise

    async def _read(
        self, response: aiohttp.ClientResponse, max_weight: int | None
    ) -> tuple[bytes, int]:
        parts: list[bytes] = []
        weight = 0
        async for part in response.content.iter_any():
            parts.append(part)
            weight += decoded_size(part)
            if weight > LARGE:
                async with self._large:
                    return await self._read_rest(response, parts, weight, max_weight)
        return b"".join(parts), weight

    async def _read_rest(
        self,
        response: aiohttp.ClientResponse,
        parts: list[bytes],
        weight: int,
        max_weight: int | None,
    ) -> tuple[bytes, int]:
        while max_weight is None or weight <= max_weight:
            part = await response.content.readany()
            if not part:
                return b"".join(parts), weight
            parts.append(part)
            weight += decoded_size(part)
        raise PageTooLargeError


def decode_object(data: bytes, request: str) -> dict[str, Any]:
    """Decode a body that is a JSON object.

    Raises:
        UnavailableError: the body is not a JSON object; the message names the request.
    """
    try:
        document = json.loads(data)
    except ValueError as error:
        raise UnavailableError(f"{request} was not answered in JSON") from error
    if not isinstance(document, dict):
        raise UnavailableError(f"{request} was not answered with an object")
    return document


def require_list(document: dict[str, Any] | None, path: str) -> dict[str, Any]:
    """Return a response that is a list.

    Raises:
        NotServedError: the response was 404: the kind is not served.
        UnavailableError: the response is not a list. Taken for an empty one, it would hide objects.
    """
    if document is None:
        raise NotServedError(f"404 on GET {path}", status=NOT_FOUND, reason="NotServed")
    if "items" not in document:
        raise UnavailableError(f"GET {path} was not answered with a list")
    return document


def require_created(created: dict[str, Any] | None, path: str) -> dict[str, Any]:
    """Return the object that a POST created.

    Raises:
        UnavailableError: the response was 404: the namespace or the kind does not exist.
    """
    if created is None:
        raise UnavailableError(f"404 on POST {path}", status=NOT_FOUND, reason="NotFound")
    return created
