"""The operator's own endpoints: `/healthz`, `/readyz` and `/metrics`.

`/healthz` judges our own loop and workers only: an API server that cannot be reached is no reason
to restart us. `/readyz` says whether the picture of the cluster is complete.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from trainingjob_operator.metrics import CONTENT_TYPE

Check = Callable[[], str | None]
"""Returns what is wrong, or None."""


class WebServer:
    """Serves the probes, whose answers are one line of text, and the metrics."""

    def __init__(
        self, address: str, *, healthy: Check, ready: Check, metrics: Callable[[], bytes]
    ) -> None:
        """Prepare to serve.

        Args:
            address: `host:port`.
            healthy: for `/healthz`.
            ready: for `/readyz`.
            metrics: what `/metrics` shows, in the text format of Prometheus.
        """
        host, _, port = address.rpartition(":")
        self._host: Final = host.strip("[]") or None
        self._port: Final = int(port)
        app = web.Application()
        app.router.add_get("/healthz", _probe(healthy))
        app.router.add_get("/readyz", _probe(ready))
        app.router.add_get("/metrics", _page(metrics))
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


def _page(render: Callable[[], bytes]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=render(), headers={"Content-Type": CONTENT_TYPE})

    return answer
