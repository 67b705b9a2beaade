"""Accepts TLS connections for uvicorn, with a limit of concurrent handshakes.

asyncio's own server begins a handshake with every client, allocates a quarter of a megabyte for each,
and waits a minute for it. The connection limit only counts connections whose handshake is done.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

import uvicorn

HANDSHAKES: Final = 64
"""Limit of concurrent handshakes; at the limit the oldest one is cancelled for a new one."""

HANDSHAKE_S: Final = 5.0
"""Timeout of a handshake, in seconds."""

_PAUSE_S: Final = 0.1
"""Pause after an accept that failed for lack of file descriptors or memory."""


class TlsAcceptor:
    """Accepts the connections of one listener, and passes them to a uvicorn server.

    Bound: `HANDSHAKES` handshakes, each for at most `HANDSHAKE_S` seconds.
    """

    def __init__(
        self,
        server: uvicorn.Server,
        listener: socket.socket,
        context: Callable[[], ssl.SSLContext],
    ) -> None:
        """Prepare to accept connections.

        Args:
            server: creates the protocols of the connections; it has no listener of its own.
            listener: the listening socket, which this does not close.
            context: returns the TLS context, called for each connection.
        """
        self._server: Final = server
        self._listener: Final = listener
        self._context: Final = context
        self._handshakes: Final[dict[asyncio.Task[None], None]] = {}

    def __len__(self) -> int:
        return len(self._handshakes)

    async def run(self) -> None:
        """Accept connections until cancelled."""
        loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        try:
            while True:
                try:
                    connection, _ = await loop.sock_accept(self._listener)
                except OSError:
                    await asyncio.sleep(_PAUSE_S)
                    continue
                if len(self._handshakes) >= HANDSHAKES:
                    oldest = next(iter(self._handshakes))
                    self._remove(oldest)
                    oldest.cancel()
                task = loop.create_task(self._handshake(connection), name="handshake")
                self._handshakes[task] = None
                task.add_done_callback(self._remove)
        finally:
            handshakes = tuple(self._handshakes)
            for task in handshakes:
                task.cancel()
            await asyncio.gather(*handshakes, return_exceptions=True)

    def _remove(self, task: asyncio.Task[None]) -> None:
        self._handshakes.pop(task, None)

    async def _handshake(self, connection: socket.socket) -> None:
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
        except OSError:  # not TLS, too slow, or disconnected: the client's fault, so not logged
            connection.close()
        except BaseException:
            connection.close()
            raise
