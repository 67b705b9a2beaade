"""Serves `/healthz`, `/readyz` and `/metrics` to whoever asks, and survives whoever does.

`/healthz` judges our own loop and workers only: an API server that cannot be reached is no reason
to restart us. `/readyz` says whether the picture of the cluster is complete; a standby is ready.

Every pod of the cluster may be able to reach this port. What it can cost is bounded: `CONNECTIONS`
connections (`places`), a few seconds and kilobytes for each (`exchange`), one rendering of the
metrics in a second, and no line in the log.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Final

from trainingjob_operator.observability.connection_limit import ConnectionLimit
from trainingjob_operator.observability.http_connection import HttpConnection, Request, Response
from trainingjob_operator.observability.http_listener import HttpListener
from trainingjob_operator.observability.metrics import CONTENT_TYPE

Check = Callable[[], str | None]
"""Returns what is wrong, or None."""

CONNECTIONS: Final = 128
"""Connections that are open at most; fewer where the process may open few files."""
_PAGE_LASTS_S: Final = 1.0
"""For so long `/metrics` shows what was rendered last: rendering goes through the whole index."""


class WebServer:
    """Serves the probes, whose answers are one line of text, and the metrics."""

    def __init__(
        self,
        address: str,
        *,
        healthy: Check,
        ready: Check,
        metrics: Callable[[], bytes],
        leads: Callable[[], bool] = lambda: True,
        metrics_for_all: bool = True,
    ) -> None:
        """Prepare to serve.

        Args:
            address: `host:port`; without a host, every address of either family.
            healthy: for `/healthz`.
            ready: for `/readyz`.
            metrics: what `/metrics` shows, in the text format of Prometheus.
            leads: False on a standby, whose `/readyz` says so.
            metrics_for_all: False: `/metrics` is not served here; see `secure_metrics`.
        """
        self._port: Final = HttpListener(
            address, self._answer, connections=CONNECTIONS, bound="web_connections"
        )
        self._metrics: Final = metrics
        self._page: bytes | None = None
        self._pages: Final[dict[str, Callable[[], Response]]] = {
            "/healthz": partial(_probe, healthy),
            "/readyz": partial(_probe, ready, leads),
        }
        if metrics_for_all:
            self._pages["/metrics"] = self.metrics_page

    @property
    def connections(self) -> ConnectionLimit[HttpConnection]:
        """The open connections."""
        return self._port.connections

    async def start(self) -> str:
        """Start serving; the address that was taken, as `host:port`.

        Raises:
            OSError: the address cannot be taken.
        """
        return await self._port.start()

    async def stop(self) -> None:
        """Stop serving; what is not answered yet stays so."""
        await self._port.stop()

    def _answer(self, request: Request) -> Response | None:
        page = self._pages.get(request.path)
        return page() if page is not None else None

    def metrics_page(self) -> Response:
        """Return the metrics, rendered at most once a second."""
        if self._page is None:
            self._page = self._metrics()
            asyncio.get_running_loop().call_later(_PAGE_LASTS_S, self._forget_page)
        return Response(self._page, content_type=CONTENT_TYPE)

    def _forget_page(self) -> None:
        self._page = None


def _probe(check: Check, leads: Callable[[], bool] = lambda: True) -> Response:
    wrong = check()
    status = HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK
    fine = "ok" if leads() else "ok, standby: leader=false"
    return Response(f"{wrong or fine}\n".encode(), status)
