"""Creates the ASGI applications: routes, static files, error handlers and probes."""

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
    not_ready_reason: Callable[[], str],
) -> ASGIApp:
    """Create the application for browsers.

    Args:
        routes: of all features.
        files: of the page.
        metrics: counts responses.
        not_ready_reason: returns why pages cannot be served yet; empty: ready.
    """
    app = Starlette(
        routes=[*_probe_routes(not_ready_reason), *routes, *files.routes()],
        exception_handlers=_handlers(),
    )
    limited = RequestLimit(app)
    metrics.watch_bound("running_requests", lambda: len(limited), lambda: limited.limit)
    # The outermost layer, so that responses to internal errors have the headers, too.
    return SecurityHeaders(RequestMetricsMiddleware(limited, metrics.count_answer))


def create_metrics_app(metrics: Metrics, not_ready_reason: Callable[[], str]) -> ASGIApp:
    """Create the application of the metrics port: metrics and probes."""

    async def measured(request: Request) -> Response:
        return Response(metrics.render(), media_type=_METRICS_TYPE)

    return Starlette(
        routes=[*_probe_routes(not_ready_reason), Route("/metrics", measured, methods=["GET"])],
        exception_handlers=_handlers(),
    )


def _handlers() -> dict[Any, Callable[[Request, Any], Awaitable[Response]]]:
    async def request_error(_: Request, error: RequestError) -> Response:
        return error_response(error)

    async def http_error(_: Request, error: HTTPException) -> Response:
        phrase = HTTPStatus(error.status_code).phrase
        return json_error(
            error.status_code, phrase.replace(" ", ""), phrase, dict(error.headers or {})
        )

    async def internal_error(request: Request, error: Exception) -> Response:
        # Starlette raises the error again, and uvicorn logs it.
        return json_error(500, "InternalError", "the console failed; see its log")

    return {RequestError: request_error, HTTPException: http_error, Exception: internal_error}


def _probe_routes(not_ready_reason: Callable[[], str]) -> list[BaseRoute]:
    """Return the routes of the liveness and the readiness probe.

    Args:
        not_ready_reason: returns why pages cannot be served yet; empty: ready.
    """

    async def healthy(request: Request) -> Response:
        # An API server that does not respond is no reason to restart this process.
        return PlainTextResponse("ok\n")

    async def ready(request: Request) -> Response:
        reason = not_ready_reason()
        return PlainTextResponse(f"{reason or 'ok'}\n", status_code=503 if reason else 200)

    return [
        Route("/healthz", healthy, methods=["GET"]),
        Route("/readyz", ready, methods=["GET"]),
    ]
