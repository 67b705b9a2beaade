"""Serves `/metrics` over TLS to callers whose bearer token is authorized; probes have their own port."""

import ssl
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Final

from trainingjob_api.errors import SettingsError
from trainingjob_operator.core.bounded import Bound
from trainingjob_operator.observability.http_connection import (
    PendingResponse,
    Request,
    Response,
    status_response,
)
from trainingjob_operator.observability.http_listener import HttpListener
from trainingjob_operator.observability.metrics_auth import MetricsAuthorizer
from trainingjob_web.certificate import Certificate, CertificateError

PATH: Final = "/metrics"
CONNECTIONS: Final = 32
"""Limit of open connections. One with TLS takes a quarter of a megabyte."""
CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"


class SecureMetrics:
    """The server of `/metrics` for callers with a bearer token."""

    def __init__(
        self, address: str, folder: Path, callers: MetricsAuthorizer, page: Callable[[], Response]
    ) -> None:
        """Prepare to serve; the certificate is read by `start`.

        Args:
            address: `host:port`; without a host, every IPv4 and IPv6 address.
            folder: directory with the certificate and its key.
            callers: authorizes callers.
            page: returns the rendered metrics.
        """
        self._folder: Final = folder
        self._callers: Final = callers
        self._page: Final = page
        self._certificate: Certificate | None = None
        self._port: Final = HttpListener(
            address,
            self._answer,
            connections=CONNECTIONS,
            bound="metrics_connections",
            tls=self._context,
        )

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit."""
        return (*self._port.connections.bounds, *self._callers.bounds)

    async def start(self) -> str:
        """Start serving; return the bound address as `host:port`.

        Raises:
            OSError: the address cannot be bound.
            SettingsError: the certificate cannot be read.
        """
        try:
            self._certificate = Certificate(self._folder / CERTIFICATE, self._folder / KEY)
        except CertificateError as error:
            raise SettingsError(f"TRAININGJOB_METRICS__CERTIFICATE_DIR: {error}") from error
        return await self._port.start()

    async def stop(self) -> None:
        """Stop serving."""
        await self._port.stop()
        await self._callers.stop()

    def _context(self) -> ssl.SSLContext:
        assert self._certificate is not None
        return self._certificate.context()

    def _answer(self, request: Request) -> PendingResponse | None:
        return self._answer_for(request) if request.path == PATH else None

    async def _answer_for(self, request: Request) -> Response:
        status = await self._callers.status_of(request.authorization)
        return self._page() if status is HTTPStatus.OK else status_response(status)
