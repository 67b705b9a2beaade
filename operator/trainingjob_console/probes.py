"""The probes: the process lives, and it can serve pages."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route


def probe_routes(is_ready: Callable[[], str]) -> list[BaseRoute]:
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
