"""Opens watches in a pool without a limit, so that short calls never wait for a connection."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp

from trainingjob_api.errors import UnavailableError
from trainingjob_operator.kube.connection import Connection
from trainingjob_operator.kube.errors import ERRORS, MAX_ERROR, NOT_FOUND, error_from, not_served
from trainingjob_operator.kube.line_splitter import LineSplitter
from trainingjob_operator.kube.request_counts import RequestCounts
from trainingjob_operator.kube.transport import Transport, connection_failed

SILENCE_S: Final = 70.0
"""Seconds without a byte after which a watch is dead: the API server sends a bookmark every minute."""

_RESPONSE_S: Final = 30.0


class WatchClient:
    """Opens watch requests, each with the current token."""

    def __init__(
        self,
        connection: Connection,
        requests: RequestCounts,
        *,
        response_s: float = _RESPONSE_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            connection: the API server and our credentials.
            requests: counts each request.
            response_s: deadline of the response headers, in seconds.
            silence_s: seconds without a byte after which the connection counts as broken.
        """
        self._transport: Final = Transport(connection, connections=0)
        self._requests: Final = requests
        self._response_s: Final = response_s
        self._limits: Final = aiohttp.ClientTimeout(total=None, sock_read=silence_s)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    @asynccontextmanager
    async def watch(
        self, path: str, query: dict[str, str]
    ) -> AsyncIterator[AsyncIterator[bytes | None]]:
        """Open a watch. Once the context is entered, every later change will be delivered.

        Args:
            path: URL path of the kind, below the server's address.
            query: query parameters other than `watch`.

        Yields:
            The lines of the response, one event each, until the server ends it; None for a line
            that is longer than the limit.

        Raises:
            UnavailableError: the connection failed, broke, or was silent for too long.
            NotServedError: the API server does not serve the kind.
            KubernetesError: the request was refused.
        """
        response: aiohttp.ClientResponse | None = None
        try:
            response = await self._open(path, query | {"watch": "true"})
            yield _lines(response)
        except TimeoutError as error:  # aiohttp's own timeouts are a subclass
            raise UnavailableError(f"no answer to GET {path}", reason="Timeout") from error
        except (aiohttp.ClientError, OSError) as error:
            raise connection_failed(error, "GET", path) from error
        finally:
            if response is not None:
                response.close()

    async def _open(self, path: str, query: dict[str, str]) -> aiohttp.ClientResponse:
        status: int | None = None
        try:
            async with asyncio.timeout(self._response_s):
                response = await self._transport.send(
                    "GET", path, query=query, limits=self._limits
                )
                status = response.status
                if status < ERRORS:
                    return response
                try:
                    refusal = await response.content.read(MAX_ERROR)
                finally:
                    response.close()
        finally:
            self._requests.note("GET", query, status)
        if status == NOT_FOUND:
            raise not_served("GET", path)
        raise error_from(status, response.headers, refusal)


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes | None, None]:
    lines = LineSplitter()
    async for part in response.content.iter_any():
        for line in lines.feed(part):
            yield line
