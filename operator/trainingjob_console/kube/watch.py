"""Lists and watches a collection for ever, as a client-go reflector does: pages of a list, then every change."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Generic, Literal, TypeVar

import aiohttp

from trainingjob_console.errors import ApiServerError, BusyError
from trainingjob_console.kube.client import Kube
from trainingjob_console.kube.pages import pages
from trainingjob_console.kube.response_reader import Object
from trainingjob_web.line_stream import LineTooLongError, iter_lines

T = TypeVar("T")

_WATCH_S: Final = 300
_IDLE_S: Final = 330.0
_LASTING_S: Final = 5.0
"""A watch that was open for at least this long and ended without an error resets the back-off."""

_BACKOFF_S: Final = (0.2, 20.0)

_GONE: Final = 410
_LIST_ANEW: Final = (403, 404, _GONE)
"""Statuses after which the collection is listed anew: the consumer may have dropped all objects at a refusal."""


@dataclass(frozen=True, slots=True)
class ListedPage(Generic[T]):
    """A page of a complete list, with converted objects; `first` and `last` mark the list's ends."""

    items: list[T]
    first: bool
    last: bool


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """A watch event after the list."""

    kind: Literal["ADDED", "MODIFIED", "DELETED"]
    object: Object


@dataclass(frozen=True, slots=True)
class WatchFailure:
    """The list or the watch failed; it is retried."""

    error: ApiServerError


async def list_and_watch(
    kube: Kube, path: str, convert: Callable[[Object], T]
) -> AsyncGenerator[ListedPage[T] | WatchEvent | WatchFailure]:
    """Yield the pages of a list, then changes; list again when the server no longer has the version.

    Args:
        kube: the API server, called with the console's own account.
        path: the URL path of the collection.
        convert: converts each listed object to what is kept of it; it may be called in a thread.
    """
    version, delay = "", _BACKOFF_S[0]
    while True:
        try:
            if not version:
                async with aclosing(_list(kube, path, convert)) as listed:
                    async for page, at in listed:
                        yield page
                        # Only after the last page: a watch from a partial list would miss the remaining
                        # objects for ever, or keep deleted ones.
                        version = at if page.last else ""
            opened = perf_counter()
            async with aclosing(_changes(kube, path, version)) as changes:
                async for event in changes:
                    version = _version(event) or version
                    delay = _BACKOFF_S[0]
                    if event.get("type") in ("ADDED", "MODIFIED", "DELETED"):
                        yield WatchEvent(event["type"], event.get("object") or {})
            # In a quiet cluster every watch ends without an event, and that is not a failure.
            if perf_counter() - opened >= _LASTING_S:
                delay = _BACKOFF_S[0]
        except ApiServerError as error:
            if error.status in _LIST_ANEW:
                version = ""
            if error.status != _GONE:
                yield WatchFailure(error)
        # With jitter: all consoles lose the connection to the server at the same time.
        await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
        delay = min(delay * 2, _BACKOFF_S[1])


async def _list(
    kube: Kube, path: str, convert: Callable[[Object], T]
) -> AsyncGenerator[tuple[ListedPage[T], str]]:
    first = True
    try:
        async with aclosing(pages(kube, path, convert, token=None)) as parts:
            async for part in parts:
                yield ListedPage(part.items, first, part.last), part.version
                first = False
    except BusyError as error:
        raise ApiServerError(str(error)) from error


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
                raise ApiServerError("the watch does not send events")
            if event.get("type") == "ERROR":
                raise _refusal(event.get("object") or {})
            yield event


async def _events(response: aiohttp.ClientResponse) -> AsyncGenerator[Any]:
    async with aclosing(iter_lines(response.content)) as lines:
        try:
            async for line in lines:
                yield json.loads(line)
        except LineTooLongError as error:
            raise ApiServerError(str(error)) from error
        except ValueError as error:
            raise ApiServerError("the watch does not send JSON") from error


def _version(event: Object) -> str:
    metadata = (event.get("object") or {}).get("metadata") or {}
    return str(metadata.get("resourceVersion") or "")


def _refusal(status: Object) -> ApiServerError:
    return ApiServerError(
        str(status.get("message") or "the watch was ended")[:1000],
        status=int(status.get("code") or 500),
        reason=str(status.get("reason") or "Unknown"),
    )
