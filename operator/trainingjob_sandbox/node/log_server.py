"""The kubelet's endpoint for logs: `GET /containerLogs/{namespace}/{pod}/{container}`.

On the loopback address only. `kubectl logs` reaches it through the API server. Only `follow`,
`tailLines` and `limitBytes` are understood; anything else that was asked for is refused rather
than left out in silence, but for `stream=All`, `insecureSkipTLSVerifyBackend` and `timestamps`: what
processes write has no times, so that lines come without, as those of a node about its own troubles do.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Final

from aiohttp import web

from trainingjob_sandbox.node.log_file import LogFile
from trainingjob_sandbox.node.names import LOOPBACK

_UNDERSTOOD: Final = frozenset({"follow", "tailLines", "limitBytes", "container", "pretty"})
_HARMLESS: Final = frozenset(
    {("stream", "All"), ("previous", "false"), ("timestamps", "false"), ("timestamps", "true")}
)
_SHUTDOWN_S: Final = 0.5

FindLog = Callable[[str, str, str], LogFile | None]
"""(namespace, pod, container) to its log."""


class LogServer:
    """Serves logs over HTTP, or HTTPS when given a context."""

    def __init__(self, find: FindLog, tls: ssl.SSLContext | None = None) -> None:
        self._find = find
        self._tls = tls
        self._runner: web.AppRunner | None = None

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return "https" if self._tls else "http"

    async def start(self, port: int = 0) -> int:
        """Listen; the port that was taken."""
        app = web.Application()
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        self._runner = web.AppRunner(
            app, handle_signals=False, access_log=None, shutdown_timeout=_SHUTDOWN_S
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, port, ssl_context=self._tls).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening and end what is being followed."""
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
            if key not in _UNDERSTOOD and (key, value) not in _HARMLESS:
                raise web.HTTPBadRequest(text=f"the sandbox does not keep logs for {key!r}\n")
        follow = request.query.get("follow") in {"true", "1"}
        position = log.start
        if "tailLines" in request.query:
            position = log.tail(_count(request, "tailLines"))
        left = _count(request, "limitBytes") if "limitBytes" in request.query else None
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        await response.prepare(request)
        # The reader going away is its own business, and no news.
        with contextlib.suppress(ConnectionError):
            await _send(response, log, position, left, follow=follow)
        return response


async def _send(
    response: web.StreamResponse, log: LogFile, position: int, left: int | None, *, follow: bool
) -> None:
    """Write what there is from a position on; with `follow` until the container's log is closed."""
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
            await log.grown()
        await asyncio.sleep(0)


def _count(request: web.Request, name: str) -> int:
    try:
        count = int(request.query[name])
    except ValueError:
        count = -1
    if count < 0:
        raise web.HTTPBadRequest(text=f"{name} must be a whole number of at least 0\n")
    return count
