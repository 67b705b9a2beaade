"""Configures uvicorn: bounded connections, a bounded size of request headers, and no access log."""

from typing import Any

import uvicorn
from starlette.types import ASGIApp

from trainingjob_web.connections import BACKLOG, KEEP_ALIVE_S, Connections


def make_server(
    app: ASGIApp, connections: Connections, *, grace_s: float, **websockets: Any
) -> uvicorn.Server:
    """Return a uvicorn server that is not started yet.

    Args:
        app: the application.
        connections: creates the connections, and limits them.
        grace_s: grace period of a shutdown for requests in flight, in seconds.
        websockets: uvicorn's arguments that begin with `ws`.
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            access_log=False,
            backlog=BACKLOG,
            # Based on uvicorn's h11 parser, which limits the size of a request's headers.
            http=connections,  # type: ignore[arg-type] # creates the protocols
            lifespan="off",
            log_config=None,
            loop="asyncio",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=grace_s,  # type: ignore[arg-type] # accepts any number
            timeout_keep_alive=int(KEEP_ALIVE_S),
            **websockets,
        )
    )
