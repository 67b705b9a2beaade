"""The ASGI application: the rooms' routes, the page's files, and one form for all errors."""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from trainingjob_console.errors import RequestError, error_response, json_error
from trainingjob_console.metrics import Metrics
from trainingjob_console.request_limit import RequestLimit
from trainingjob_console.security import SecurityHeaders
from trainingjob_console.static_files import StaticFiles
from trainingjob_web.request_metrics import RequestMetricsMiddleware

_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def create_app(
    routes: Sequence[BaseRoute],
    *,
    files: StaticFiles,
    metrics: Metrics,
    is_ready: Callable[[], str],
) -> ASGIApp:
    """Make the application for browsers.

    Args:
        routes: of all rooms.
        files: of the page.
        metrics: where answers are counted.
        is_ready: returns why no page can be served yet; empty: they can.
    """
    app = Starlette(
        routes=[*_probe_routes(is_ready), *routes, *files.routes()],
        exception_handlers=_handlers(),
    )
    running = RequestLimit(app)
    metrics.watch_bound("running_requests", lambda: len(running), lambda: running.limit)
    # Around all of it: the answer to a fault of ours carries the headers, too.
    return SecurityHeaders(RequestMetricsMiddleware(running, metrics.count_answer))


def create_metrics_app(metrics: Metrics, is_ready: Callable[[], str]) -> ASGIApp:
    """Make the application of the second port: the metrics and the probes."""

    async def measured(request: Request) -> Response:
        return Response(metrics.render(), media_type=_METRICS_TYPE)

    return Starlette(
        routes=[*_probe_routes(is_ready), Route("/metrics", measured, methods=["GET"])],
        exception_handlers=_handlers(),
    )


def _handlers() -> dict[Any, Callable[[Request, Any], Awaitable[Response]]]:
    async def refused(_: Request, error: RequestError) -> Response:
        return error_response(error)

    async def of_http(_: Request, error: HTTPException) -> Response:
        phrase = HTTPStatus(error.status_code).phrase
        return json_error(
            error.status_code, phrase.replace(" ", ""), phrase, dict(error.headers or {})
        )

    async def of_ours(request: Request, error: Exception) -> Response:
        # Starlette raises the error again, and uvicorn logs it.
        return json_error(500, "InternalError", "the console has failed; its log says why")

    return {RequestError: refused, HTTPException: of_http, Exception: of_ours}


def _probe_routes(is_ready: Callable[[], str]) -> list[BaseRoute]:
    """Return the routes of both probes.

    Args:
        is_ready: returns why no page can be served yet; empty: they can.
    """

    async def healthy(request: Request) -> Response:
        # An API server that does not answer is no reason to restart this process.
        return PlainTextResponse("ok\n")

    async def ready(request: Request) -> Response:
        obstacle = is_ready()
        return PlainTextResponse(f"{obstacle or 'ok'}\n", status_code=503 if obstacle else 200)

    return [
        Route("/healthz", healthy, methods=["GET"]),
        Route("/readyz", ready, methods=["GET"]),
    ]
