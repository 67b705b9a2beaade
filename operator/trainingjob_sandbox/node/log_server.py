"""Serves the kubelet's log endpoint: `GET /containerLogs/{namespace}/{pod}/{container}`.

It listens on loopback only; `kubectl logs` reaches it through the API server. It supports `follow`,
`tailLines` and `limitBytes`. `stream=All` and `timestamps` are accepted without effect: the log
stores no times, so lines are sent without them. Other parameters are rejected instead of ignored.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Final

from aiohttp import web

from trainingjob_sandbox.node.constants import LOOPBACK
from trainingjob_sandbox.node.log_file import LogFile

_SUPPORTED: Final = frozenset({"follow", "tailLines", "limitBytes", "container", "pretty"})
_WITHOUT_EFFECT: Final = frozenset(
    {("stream", "All"), ("previous", "false"), ("timestamps", "false"), ("timestamps", "true")}
)
_SHUTDOWN_S: Final = 0.5

FindLog = Callable[[str, str, str], LogFile | None]
"""Finds a log by (namespace, pod, container)."""


class LogServer:
    """Serves logs over HTTP, or over HTTPS with a TLS context."""

    def __init__(self, find: FindLog, tls: ssl.SSLContext | None = None) -> None:
        self._find = find
        self._tls = tls
        self._runner: web.AppRunner | None = None

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return "https" if self._tls else "http"

    async def start(self, port: int = 0) -> int:
        """Listen, and return the port."""
        app = web.Application()
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        self._runner = web.AppRunner(
            app, handle_signals=False, access_log=None, shutdown_timeout=_SHUTDOWN_S
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, port, ssl_context=self._tls).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening and close the open streams."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        where = request.match_info
        log = self._find(where["namespace"], where["pod"], where["container"])
        if log is None:
            raise web.HTTPNotFound(
                text=f"container {where['container']!r} in pod {where['pod']!r} has not started\n"
            )
        for key, value in request.query.items():
            if key not in _SUPPORTED and (key, value) not in _WITHOUT_EFFECT:
                raise web.HTTPBadRequest(text=f"the sandbox does not support {key!r} for logs\n")
        follow = request.query.get("follow") in {"true", "1"}
        position = log.start
        if "tailLines" in request.query:
            position = log.tail(_count(request, "tailLines"))
        left = _count(request, "limitBytes") if "limitBytes" in request.query else None
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        await response.prepare(request)
        # The client may disconnect at any time.
        with contextlib.suppress(ConnectionError):
            await _send(response, log, position, left, follow=follow)
        return response


async def _send(
    response: web.StreamResponse, log: LogFile, position: int, left: int | None, *, follow: bool
) -> None:
    """Write the log from a position on; with `follow` until the container's log is closed."""
    stop_at = None if follow else log.end
    while left is None or left > 0:
        data, position = log.read(position)
        if stop_at is not None and position > stop_at:
            data = data[: len(data) - (position - stop_at)]
        if data:
            data = data[:left]
            left = None if left is None else left - len(data)
            await response.write(data)
        elif not follow or log.closed:
            return
        else:
            await log.wait_for_data()
        await asyncio.sleep(0)


def _count(request: web.Request, name: str) -> int:
    try:
        count = int(request.query[name])
    except ValueError:
        count = -1
    if count < 0:
        raise web.HTTPBadRequest(text=f"{name} must be a non-negative integer\n")
    return count
