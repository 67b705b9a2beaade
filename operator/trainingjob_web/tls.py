"""TLS in front of uvicorn: how connections come in, with a limit to those that are not in yet.

asyncio's own server begins a handshake with whoever connects, a quarter of a megabyte for each, and
waits a minute for it; the limit of connections counts only those that have done it.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

import uvicorn

HANDSHAKES: Final = 64
"""Handshakes at once; at the limit the one that has waited longest is ended for the next."""

HANDSHAKE_S: Final = 5.0
"""Seconds that a client has for its handshake."""

_PAUSE_S: Final = 0.1
"""After an accept that failed for want of descriptors or memory."""


class TlsAcceptor:
    """Takes in the connections of one listener, and hands them to a server.

    Bound: `HANDSHAKES` handshakes, each for `HANDSHAKE_S` seconds.
    """

    def __init__(
        self,
        server: uvicorn.Server,
        listener: socket.socket,
        context: Callable[[], ssl.SSLContext],
    ) -> None:
        """Prepare to take connections in.

        Args:
            server: makes their protocols; it listens on nothing by itself.
            listener: stays open when this ends.
            context: returns the certificate to show, for each connection anew.
        """
        self._server: Final = server
        self._listener: Final = listener
        self._context: Final = context
        self._arrivals: Final[dict[asyncio.Task[None], None]] = {}

    def __len__(self) -> int:
        return len(self._arrivals)

    async def run(self) -> None:
        """Take connections in until cancelled."""
        loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        try:
            while True:
                try:
                    connection, _ = await loop.sock_accept(self._listener)
                except OSError:
                    await asyncio.sleep(_PAUSE_S)
                    continue
                if len(self._arrivals) >= HANDSHAKES:
                    oldest = next(iter(self._arrivals))
                    self._leave(oldest)
                    oldest.cancel()
                task = loop.create_task(self._take_in(connection), name="handshake")
                self._arrivals[task] = None
                task.add_done_callback(self._leave)
        finally:
            arrivals = tuple(self._arrivals)
            for task in arrivals:
                task.cancel()
            await asyncio.gather(*arrivals, return_exceptions=True)

    def _leave(self, task: asyncio.Task[None]) -> None:
        self._arrivals.pop(task, None)

    async def _take_in(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        config, state = self._server.config, self._server.server_state
        try:
            await loop.connect_accepted_socket(
                lambda: config.http_protocol_class(  # type: ignore[call-arg]
                    config=config, server_state=state, app_state={}, _loop=loop
                ),
                connection,
                ssl=self._context(),
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=HANDSHAKE_S,
            )
        except OSError:  # no TLS, too slow, or gone: it is nobody's fault here
            connection.close()
        except BaseException:
            connection.close()
            raise
