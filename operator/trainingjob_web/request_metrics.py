"""ASGI middleware that counts requests and measures their duration, by route."""

from collections.abc import Callable
from http import HTTPStatus
from time import perf_counter
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Count = Callable[[str, str, int, float], None]
"""Receives the method, the route's pattern, the status, and the seconds to the end of the response."""


class RequestMetricsMiddleware:
    """Counts every HTTP request: an exception counts as 500, an unknown path as the route `other`."""

    def __init__(self, app: ASGIApp, count: Count) -> None:
        self._app: Final = app
        self._count: Final = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = int(HTTPStatus.INTERNAL_SERVER_ERROR)
        begun = perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._count(scope["method"], route, status, perf_counter() - begun)
