"""Follows a collection for ever: complete lists in pages, and every change between them."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Literal

import aiohttp

from trainingjob_console.errors import ApiServerError
from trainingjob_console.kube.client import Kube, Object
from trainingjob_web.lines import LineTooLongError, lines_of

PAGE: Final = 250
"""Objects of a page: 250 of the largest that etcd takes would be more than an answer may hold, and
then the page is asked for again in a smaller size."""

_SMALLEST_PAGE: Final = 5
_WATCH_S: Final = 300
_IDLE_S: Final = 330.0
_LASTING_S: Final = 5.0
"""A watch that was open for so long, and ended in order, is opened again without a longer wait."""

_BACKOFF_S: Final = (0.2, 20.0)

_GONE: Final = 410
_LIST_ANEW: Final = (403, 404, _GONE)
"""After these a list comes first: whoever follows may have let go of all objects at a refusal."""


@dataclass(frozen=True, slots=True)
class Page:
    """Objects of a complete list; `first` and `last` say where in it."""

    objects: list[Object]
    first: bool
    last: bool


@dataclass(frozen=True, slots=True)
class Changed:
    """One change after the list."""

    kind: Literal["ADDED", "MODIFIED", "DELETED"]
    object: Object


@dataclass(frozen=True, slots=True)
class Broken:
    """The source does not answer; it is asked again by itself."""

    error: ApiServerError


Event = Page | Changed | Broken


async def follow(kube: Kube, path: str) -> AsyncGenerator[Event]:
    """Yield pages of a list, then changes; a list again when the server has forgotten the place.

    Args:
        kube: asked with the console's own account.
        path: of the collection.
    """
    version, delay = "", _BACKOFF_S[0]
    while True:
        try:
            if not version:
                async with aclosing(_list(kube, path)) as pages:
                    async for page, at in pages:
                        yield page
                        # Of a whole list only: what is beyond a page would be missed, or kept, for ever.
                        version = at if page.last else ""
            opened = perf_counter()
            async with aclosing(_changes(kube, path, version)) as changes:
                async for event in changes:
                    version = _version(event) or version
                    delay = _BACKOFF_S[0]
                    if event.get("type") in ("ADDED", "MODIFIED", "DELETED"):
                        yield Changed(event["type"], event.get("object") or {})
            # Where nothing happens for hours each watch ends without an event, and none has failed.
            if perf_counter() - opened >= _LASTING_S:
                delay = _BACKOFF_S[0]
        except ApiServerError as error:
            if error.status in _LIST_ANEW:
                version = ""
            if error.status != _GONE:
                yield Broken(error)
        # With jitter: all consoles lose the server in the same moment.
        await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
        delay = min(delay * 2, _BACKOFF_S[1])


async def _list(kube: Kube, path: str) -> AsyncGenerator[tuple[Page, str]]:
    size, place, first = PAGE, "", True
    while True:
        query = {"limit": str(size)} | ({"continue": place} if place else {})
        try:
            answer = await kube.call("GET", path, token=None, query=query)
        except ApiServerError as error:
            # Only an answer that is too large names no status, and comes from a server that answers.
            if "larger than" in str(error) and size > _SMALLEST_PAGE:
                size = max(size // 4, _SMALLEST_PAGE)
                continue
            raise
        metadata = answer.get("metadata") or {}
        place = str(metadata.get("continue") or "")
        objects = [item for item in answer.get("items") or () if isinstance(item, dict)]
        yield Page(objects, first, not place), str(metadata.get("resourceVersion") or "")
        first = False
        if not place:
            return


async def _changes(kube: Kube, path: str, version: str) -> AsyncGenerator[Object]:
    query = {
        "watch": "true",
        "resourceVersion": version,
        "allowWatchBookmarks": "true",
        "timeoutSeconds": str(_WATCH_S),
    }
    async with (
        kube.watch(path, query=query, idle_s=_IDLE_S) as response,
        aclosing(_events(response)) as events,
    ):
        async for event in events:
            if not isinstance(event, dict):
                raise ApiServerError("the watch sends no events")
            if event.get("type") == "ERROR":
                raise _refusal(event.get("object") or {})
            yield event


async def _events(response: aiohttp.ClientResponse) -> AsyncGenerator[Any]:
    async with aclosing(lines_of(response.content)) as lines:
        try:
            async for line in lines:
                yield json.loads(line)
        except LineTooLongError as error:
            raise ApiServerError(str(error)) from error
        except ValueError as error:
            raise ApiServerError("the watch sends no JSON") from error


def _version(event: Object) -> str:
    metadata = (event.get("object") or {}).get("metadata") or {}
    return str(metadata.get("resourceVersion") or "")


def _refusal(status: Object) -> ApiServerError:
    return ApiServerError(
        str(status.get("message") or "the watch was ended")[:1000],
        status=int(status.get("code") or 500),
        reason=str(status.get("reason") or "Unknown"),
    )
