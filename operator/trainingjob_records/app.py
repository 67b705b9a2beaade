"""Builds the ASGI application: the API, the probes, the metrics, and uniform error responses."""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from trainingjob_records.database import Database
from trainingjob_records.errors import RequestError, UnavailableError
from trainingjob_records.jobs_api import JobsApi
from trainingjob_records.metrics import Metrics
from trainingjob_records.responses import error_body, error_response
from trainingjob_web.request_metrics import RequestMetricsMiddleware

_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_logger = logging.getLogger(__name__)


def create_app(api: JobsApi, *, database: Database, metrics: Metrics) -> FastAPI:
    """Make the application. The probes, the metrics and the OpenAPI document need no token."""
    app = FastAPI(
        title="trainingjob-records",
        summary="Keeps the records of finished training jobs.",
        version="1",
        # The documentation pages would load scripts from another server.
        docs_url=None,
        redoc_url=None,
        # The operator follows no redirects.
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    app.include_router(api.router)
    _add_probes(app, database, metrics)
    _add_error_handlers(app)
    app.add_middleware(RequestMetricsMiddleware, count=metrics.count_answer)
    return app


def _add_probes(app: FastAPI, database: Database, metrics: Metrics) -> None:
    async def healthy() -> Response:
        # An unreachable database is no reason to restart this process.
        return PlainTextResponse("ok\n")

    async def ready() -> Response:
        try:
            await database.ping()
        except UnavailableError as error:
            headers = {"Retry-After": str(error.retry_after_s)}
            return PlainTextResponse(f"{error}\n", status_code=503, headers=headers)
        warning = database.usage.warning
        return PlainTextResponse(f"ok\nwarning: {warning}\n" if warning else "ok\n")

    async def render_metrics() -> Response:
        return Response(metrics.render(), media_type=_METRICS_TYPE)

    for path, endpoint in (
        ("/healthz", healthy),
        ("/readyz", ready),
        ("/metrics", render_metrics),
    ):
        app.add_api_route(path, endpoint, methods=["GET"], include_in_schema=False)


def _add_error_handlers(app: FastAPI) -> None:
    async def on_request_error(_: Request, error: RequestError) -> Response:
        return error_response(error)

    async def on_invalid(_: Request, error: RequestValidationError) -> Response:
        faults = "; ".join(_fault(fault["loc"], fault["msg"]) for fault in error.errors()[:3])
        return error_body(HTTPStatus.UNPROCESSABLE_ENTITY, faults)

    async def on_http_error(_: Request, error: HTTPException) -> Response:
        return error_body(error.status_code, str(error.detail), dict(error.headers or {}))

    async def on_database_error(request: Request, error: SQLAlchemyError) -> Response:
        _logger.error("%s %s: %s", request.method, request.scope["path"], error)
        return error_body(HTTPStatus.INTERNAL_SERVER_ERROR, "the database refused this request")

    handlers: dict[type[Exception], Callable[..., Awaitable[Response]]] = {
        RequestError: on_request_error,
        RequestValidationError: on_invalid,
        HTTPException: on_http_error,
        SQLAlchemyError: on_database_error,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _fault(location: tuple[str | int, ...], message: str) -> str:
    return f"{'.'.join(str(part)[:64] for part in location[1:4])}: {message}"
