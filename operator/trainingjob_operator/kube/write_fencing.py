"""Stops the writes of a process that does not hold the Lease any more, at the last moment."""

import ssl
from collections.abc import Callable
from typing import Any, Final

import aiohttp

MayWrite = Callable[[], bool]
"""True while this process may write to the API server."""


class NotLeadingError(aiohttp.ClientConnectionError):
    """A write was not sent, because this process does not hold the Lease any more."""


class FencedConnector(aiohttp.TCPConnector):
    """Connections of which a write gets one only while `may_write` is true.

    It asks when the connection is there, which is the last moment before a request is written to
    it. Any earlier answer can be old by then: a write may wait for a connection, and a process that
    was frozen in between goes on where it stood.
    """

    def __init__(self, may_write: MayWrite, *, limit: int, ssl_context: ssl.SSLContext) -> None:
        """Prepare; nothing is connected yet.

        Args:
            may_write: see `MayWrite`.
            limit: connections that are open at once at most; 0: any number.
            ssl_context: the certificates.
        """
        super().__init__(limit=limit, ssl=ssl_context)
        self._may_write: Final = may_write

    async def connect(self, req: Any, *arguments: Any, **options: Any) -> Any:
        """Return a connection for a request.

        Raises:
            NotLeadingError: the request writes, and may not.
        """
        connection = await super().connect(req, *arguments, **options)
        if req.method != "GET" and not self._may_write():
            connection.close()
            raise NotLeadingError("this process does not hold the Lease: nothing is written")
        return connection
