"""Serves `/healthz`, `/readyz` and `/metrics` without authentication, at a bounded cost.

`/healthz` checks only this process' event loop and workers: an unreachable API server is no reason
to restart the operator. `/readyz` is ok when the index is complete; a standby is ready, too.

Every pod of the cluster may be able to reach this port. Bounds: `CONNECTIONS` connections
(`connection_limit`), a few seconds and kilobytes for each (`http_connection`), one rendering of the
metrics a second, and no log line for a request.
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
"""Returns a description of the problem; None: healthy."""

CONNECTIONS: Final = 128
"""Limit of open connections; lower where the process may open few files."""
_METRICS_TTL_S: Final = 1.0
"""How long rendered metrics are cached, in seconds: rendering iterates over the whole index."""


class WebServer:
    """Serves the probes, each with a line of text, and the metrics."""

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
            address: `host:port`; without a host, every IPv4 and IPv6 address.
            healthy: the check of `/healthz`.
            ready: the check of `/readyz`.
            metrics: renders `/metrics` in the text format of Prometheus.
            leads: returns False on a standby; `/readyz` then reports that.
            metrics_for_all: False: `/metrics` is not served here, but by `secure_metrics`.
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
        """Start serving; return the bound address as `host:port`.

        Raises:
            OSError: the address cannot be bound.
        """
        return await self._port.start()

    async def stop(self) -> None:
        """Stop serving; requests without a response are dropped."""
        await self._port.stop()

    def _answer(self, request: Request) -> Response | None:
        page = self._pages.get(request.path)
        return page() if page is not None else None

    def metrics_page(self) -> Response:
        """Return the metrics, rendered at most once a second."""
        if self._page is None:
            self._page = self._metrics()
            asyncio.get_running_loop().call_later(_METRICS_TTL_S, self._forget_page)
        return Response(self._page, content_type=CONTENT_TYPE)

    def _forget_page(self) -> None:
        self._page = None


def _probe(check: Check, leads: Callable[[], bool] = lambda: True) -> Response:
    wrong = check()
    status = HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK
    fine = "ok" if leads() else "ok, standby: leader=false"
    return Response(f"{wrong or fine}\n".encode(), status)
