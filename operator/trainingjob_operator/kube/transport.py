"""Sends requests to the API server: one pool of connections, and with each request the token of now.

aiohttp's own session, without the official client around it, which copies each body and all of a
request's parts before it does the same. Where the server is and how to be let in is
still read by the official client's configuration (`kube.connection`).
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
    """One session, opened with its first request."""

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
            connection: where to and as whom.
            connections: how many are open at once at most; 0: any number.
            user_agent: how the API server's logs name us.
            may_write: see `kube.write_fencing`; None: every write is sent.
        """
        self._may_write: Final = may_write
        self._connection: Final = connection
        self._ssl_context: Final = connection.new_ssl_context()  # not in a call's time
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
        """Send a request; the answer's headers are there, its body is still to be read.

        Args:
            method: of HTTP.
            path: below the server's address.
            query: of the URL.
            body: what is sent as JSON; None: nothing.
            content_type: of the body.
            accept: what the answer may be.
            limits: how long which part of the exchange may take.

        Raises:
            aiohttp.ClientError, OSError, TimeoutError: no answer came.
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
    """Return the error that a connection which failed means."""
    return UnavailableError(
        f"{type(error).__name__} on {method} {path}: {error}", reason="ConnectionFailed"
    )
