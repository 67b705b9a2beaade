"""The operator's own endpoints: `/healthz` and `/readyz`.

`/healthz` judges our own loop and workers only: an API server that cannot be reached is no reason
to restart us. `/readyz` says whether the picture of the cluster is complete.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

Check = Callable[[], str | None]
"""Returns what is wrong, or None."""


class WebServer:
    """Serves the probes. The answers are one line of text."""

    def __init__(self, address: str, *, healthy: Check, ready: Check) -> None:
        host, _, port = address.rpartition(":")
        self._host: Final = host.strip("[]") or None
        self._port: Final = int(port)
        app = web.Application()
        app.router.add_get("/healthz", _probe(healthy))
        app.router.add_get("/readyz", _probe(ready))
        self._runner: Final = web.AppRunner(
            app, handle_signals=False, access_log=None, shutdown_timeout=0.5
        )

    async def start(self) -> str:
        """Start serving; the address that was taken, as `host:port`.

        Raises:
            OSError: the address cannot be taken.
        """
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        host, port = self._runner.addresses[0][:2]
        return f"{host}:{port}"

    async def stop(self) -> None:
        """Stop serving."""
        await self._runner.cleanup()


def _probe(check: Check) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(_: web.Request) -> web.StreamResponse:
        wrong = check()
        return web.Response(status=503 if wrong else 200, text=f"{wrong or 'ok'}\n")

    return answer
