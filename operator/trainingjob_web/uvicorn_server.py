"""How uvicorn serves: on bounded connections, with headers of a bounded size, and without logs of its own."""

from typing import Any

import uvicorn
from starlette.types import ASGIApp

from trainingjob_web.connections import BACKLOG, KEEP_ALIVE_S, Connections


def make_server(
    app: ASGIApp, connections: Connections, *, grace_s: float, **websockets: Any
) -> uvicorn.Server:
    """Return a server, which serves nothing yet.

    Args:
        app: what it serves.
        connections: makes and bounds its connections.
        grace_s: seconds for requests that are in flight when it is to stop.
        websockets: the arguments of uvicorn's that begin with `ws`.
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            access_log=False,
            backlog=BACKLOG,
            # On uvicorn's parser that bounds the size of a request's headers.
            http=connections,  # type: ignore[arg-type] # makes the protocols
            lifespan="off",
            log_config=None,
            loop="asyncio",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=grace_s,  # type: ignore[arg-type] # waits for any number
            timeout_keep_alive=int(KEEP_ALIVE_S),
            **websockets,
        )
    )
