"""Listens on a port of the operator and accepts connections within limits, with or without TLS.

Bound: `connections` open connections (`connection_limit`), each with one request of a few kilobytes
and a few seconds (`http_connection`). With TLS, the deadline of a connection includes its handshake,
and at most a hundred connections a second are accepted: a handshake takes part of a millisecond of
the event loop's time.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Final

from trainingjob_operator.descriptors import descriptor_limit
from trainingjob_operator.observability.connection_limit import ConnectionLimit
from trainingjob_operator.observability.http_connection import Handler, HttpConnection

_SHARE: Final = 4
"""Connections to this port may use one of this many file descriptors of the process."""
_BACKLOG: Final = 1024
"""Listen backlog; the kernel may limit it further (`net.core.somaxconn`)."""
_ACCEPTED_AT_ONCE: Final = 64
"""Connections accepted in one callback, before the event loop does something else."""
_PAUSE_S: Final = 0.1
"""Pause after an accept that failed for lack of file descriptors or memory."""
_HANDSHAKE_S: Final = 5.0
"""Timeout of the TLS handshake, and of the TLS shutdown, in seconds."""
_HANDSHAKE_INTERVAL_S: Final = 0.01
"""Seconds between the starts of two handshakes."""
_NO_SUCH_FAMILY: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""Errors of binding to every address on a node without IPv6, or without IPv4."""

NewContext = Callable[[], ssl.SSLContext]
"""Returns the TLS context, called for each connection."""


class HttpListener:
    """Listens, and creates an `HttpConnection` for each connection."""

    def __init__(
        self,
        address: str,
        handler: Handler,
        *,
        connections: int,
        bound: str,
        tls: NewContext | None = None,
    ) -> None:
        """Prepare to listen.

        Args:
            address: `host:port`; without a host, every IPv4 and IPv6 address.
            handler: returns the response to a request.
            connections: limit of open connections; lower where the process may open few files.
            bound: name of this limit in `/metrics`.
            tls: returns the TLS context; None: no TLS.
        """
        host, _, port = address.rpartition(":")
        self._host: Final = host.strip("[]") or None
        self._port: Final = int(port)
        self._handler: Final = handler
        self._tls: Final = tls
        self.connections: Final[ConnectionLimit[HttpConnection]] = ConnectionLimit(
            min(connections, descriptor_limit() // _SHARE), bound
        )
        self._listeners: Final[list[socket.socket]] = []
        self._connecting: Final[set[asyncio.Task[None]]] = set()

    async def start(self) -> str:
        """Start serving; return the bound address as `host:port`.

        Raises:
            OSError: the address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(
            self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        problem: OSError | None = None
        for family, where in dict.fromkeys((each[0], each[4]) for each in found):
            try:
                self._listeners.append(_listener(family, where))
            except OSError as error:
                problem = error
                if error.errno not in _NO_SUCH_FAMILY:
                    self._close_listeners()
                    raise
        if problem is not None and not self._listeners:
            raise problem
        for listener in self._listeners:
            loop.add_reader(listener, self._accept, listener)
        host, port = self._listeners[0].getsockname()[:2]
        return f"{host}:{port}"

    async def stop(self) -> None:
        """Stop serving; requests without a response are dropped."""
        self._close_listeners()
        self.connections.close_all()
        await asyncio.gather(*self._connecting, return_exceptions=True)

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        self._listeners.clear()

    def _accept(self, listener: socket.socket) -> None:
        """Accept waiting connections, within limits.

        asyncio's own server has no connection limit. It logs a traceback for each failed accept: a
        hundred at a time when no file descriptor is left.
        """
        for _ in range(_ACCEPTED_AT_ONCE if self._tls is None else 1):
            try:
                connection, peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # No file descriptor or no memory: close one connection, and retry after a pause.
                self.connections.evict_one()
                self._pause(listener, _PAUSE_S)
                return
            connection.setblocking(False)
            self._add(connection, str(peer[0]))
        if self._tls is not None:
            self._pause(listener, _HANDSHAKE_INTERVAL_S)

    def _add(self, connection: socket.socket, address: str) -> None:
        http = HttpConnection(address, self._handler, lambda: self.connections.remove(http))
        self.connections.add(http)
        task = asyncio.get_running_loop().create_task(self._connect(connection, http))
        if self._tls is not None:
            http.handshake = task
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, connection: socket.socket, http: HttpConnection) -> None:
        try:
            loop = asyncio.get_running_loop()
            if self._tls is None:
                await loop.connect_accepted_socket(lambda: http, connection)
            else:
                await loop.connect_accepted_socket(
                    lambda: http,
                    connection,
                    ssl=self._tls(),
                    ssl_handshake_timeout=_HANDSHAKE_S,
                    ssl_shutdown_timeout=_HANDSHAKE_S,
                )
        except BaseException as error:
            self.connections.remove(http)
            connection.close()
            if not isinstance(error, OSError):
                raise

    def _pause(self, listener: socket.socket, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        loop.call_later(seconds, self._resume, listener)

    def _resume(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)


def _listener(family: int, where: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(where)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
