"""Sends HTTP requests to the API server: one connection pool, and the current token on each request.

It uses aiohttp's session directly. The official client does the same, but first copies each body
and every other part of a request. The server's address and the credentials still come from the
official client's configuration (`kube.connection`).
"""

import json
from typing import Any, Final

import aiohttp

from trainingjob_api.errors import UnavailableError
from trainingjob_operator.kube.connection import Connection
from trainingjob_operator.kube.write_fencing import MayWrite

JSON: Final = "application/json"
USER_AGENT: Final = "trainingjob-operator"


class Transport:
    """An aiohttp session that is opened with the first request."""

    def __init__(
        self,
        connection: Connection,
        *,
        connections: int,
        user_agent: str = USER_AGENT,
        may_write: MayWrite | None = None,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            connection: the API server and our credentials.
            connections: limit of open connections; 0: no limit.
            user_agent: the User-Agent header, which the API server's audit log shows.
            may_write: see `kube.write_fencing`; None: every write is sent.
        """
        self._may_write: Final = may_write
        self._connection: Final = connection
        self._ssl_context: Final = connection.new_ssl_context()  # slow, so not within a deadline
        self._connections: Final = connections
        self._user_agent: Final = user_agent
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
        accept: str = JSON,
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        """Send a request and return the response with its headers; the caller reads the body.

        Args:
            method: the HTTP method.
            path: URL path below the server's address.
            query: query parameters.
            body: content to send as JSON; None: no body.
            content_type: media type of the body.
            accept: the Accept header.
            limits: aiohttp's timeouts for this request.

        Raises:
            aiohttp.ClientError, OSError, TimeoutError: there was no response.
        """
        if self._session is None:
            self._session = self._connection.new_session(
                self._ssl_context, connections=self._connections, may_write=self._may_write
            )
        headers = await self._connection.authorization()
        headers |= {"Accept": accept, "User-Agent": self._user_agent}
        more: dict[str, Any] = {}
        if body is not None:
            headers["Content-Type"] = content_type
            more["data"] = json.dumps(body, separators=(",", ":")).encode()
        if (name := self._connection.tls_server_name) is not None:
            more["server_hostname"] = name
        return await self._session.request(
            method,
            f"{self._connection.server}{path}",
            params=query,
            headers=headers,
            timeout=limits,
            **more,
        )


def connection_failed(error: Exception, method: str, path: str) -> UnavailableError:
    """Return the exception for a failed connection."""
    return UnavailableError(
        f"{type(error).__name__} on {method} {path}: {error}", reason="ConnectionFailed"
    )
