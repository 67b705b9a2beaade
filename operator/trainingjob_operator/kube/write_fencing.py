"""Fences writes: a process that no longer holds the Lease cannot send a write to the API server."""

import ssl
from collections.abc import Callable
from typing import Any, Final

import aiohttp

MayWrite = Callable[[], bool]
"""True while this process may write to the API server."""


class NotLeadingError(aiohttp.ClientConnectionError):
    """A write was not sent, because this process no longer holds the Lease."""


class FencedConnector(aiohttp.TCPConnector):
    """A connection pool that gives a write a connection only while `may_write` returns True.

    It checks after it has obtained the connection, the last moment before the request is written.
    An earlier check can be stale by then: a write may wait for a connection, and a process that was
    frozen in between continues where it stopped.
    """

    def __init__(self, may_write: MayWrite, *, limit: int, ssl_context: ssl.SSLContext) -> None:
        """Prepare; nothing is connected yet.

        Args:
            may_write: see `MayWrite`.
            limit: limit of open connections; 0: no limit.
            ssl_context: the TLS context.
        """
        super().__init__(limit=limit, ssl=ssl_context)
        self._may_write: Final = may_write

    async def connect(self, req: Any, *arguments: Any, **options: Any) -> Any:
        """Return a connection for a request.

        Raises:
            NotLeadingError: the request is a write, and this process may not write.
        """
        connection = await super().connect(req, *arguments, **options)
        if req.method != "GET" and not self._may_write():
            connection.close()
            raise NotLeadingError("this process does not hold the Lease: nothing is written")
        return connection
