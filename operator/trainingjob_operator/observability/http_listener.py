"""A listening port of the operator: it takes connections in, within limits, with or without TLS.

Bound: `connections` connections (`places`), one request on each, a few seconds and kilobytes for it
(`exchange`). With TLS the time of a connection includes its handshake, and not more than a hundred
connections a second are taken in: a handshake takes a part of a millisecond of the event loop.
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
"""One in so many of the files that the process may open is for connections to this port."""
_BACKLOG: Final = 1024
"""Connections that the kernel holds for us; it may hold fewer (`net.core.somaxconn`)."""
_ACCEPTED_AT_ONCE: Final = 64
"""Connections that are accepted before the loop does something else."""
_PAUSE_S: Final = 0.1
"""After an accept that failed for want of descriptors or memory."""
_HANDSHAKE_S: Final = 5.0
"""Seconds that a client has for its handshake, and for the end of TLS."""
_REST_S: Final = 0.01
"""Seconds between two handshakes that are begun."""
_NO_SUCH_FAMILY: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""What a node without IPv6, or without IPv4, says to a listener on every address."""

NewContext = Callable[[], ssl.SSLContext]
"""Returns the certificate to show, for each connection anew."""


class HttpListener:
    """Listens, and gives each connection an `HttpConnection`."""

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
            address: `host:port`; without a host, every address of either family.
            handler: what answers.
            connections: that are open at most; fewer where the process may open few files.
            bound: the name of this limit.
            tls: the certificate; None: without TLS.
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
        self._arrivals: Final[set[asyncio.Task[None]]] = set()

    async def start(self) -> str:
        """Start serving; the address that was taken, as `host:port`.

        Raises:
            OSError: the address cannot be taken.
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
        """Stop serving; what is not answered yet stays so."""
        self._close_listeners()
        self.connections.close_all()
        await asyncio.gather(*self._arrivals, return_exceptions=True)

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        self._listeners.clear()

    def _accept(self, listener: socket.socket) -> None:
        """Take in the connections that wait, within limits.

        asyncio's own server would log a traceback for each accept that fails, a hundred at a time
        when there are no descriptors left, and has no limit of connections.
        """
        for _ in range(_ACCEPTED_AT_ONCE if self._tls is None else 1):
            try:
                connection, peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # No descriptors or no memory: one of ours for the next one, after a pause.
                self.connections.evict_one()
                self._pause(listener, _PAUSE_S)
                return
            connection.setblocking(False)
            self._take_in(connection, str(peer[0]))
        if self._tls is not None:
            self._pause(listener, _REST_S)

    def _take_in(self, connection: socket.socket, address: str) -> None:
        exchange = HttpConnection(
            address, self._handler, lambda: self.connections.remove(exchange)
        )
        self.connections.add(exchange)
        task = asyncio.get_running_loop().create_task(self._connect(connection, exchange))
        if self._tls is not None:
            exchange.arrival = task
        self._arrivals.add(task)
        task.add_done_callback(self._arrivals.discard)

    async def _connect(self, connection: socket.socket, exchange: HttpConnection) -> None:
        try:
            loop = asyncio.get_running_loop()
            if self._tls is None:
                await loop.connect_accepted_socket(lambda: exchange, connection)
            else:
                await loop.connect_accepted_socket(
                    lambda: exchange,
                    connection,
                    ssl=self._tls(),
                    ssl_handshake_timeout=_HANDSHAKE_S,
                    ssl_shutdown_timeout=_HANDSHAKE_S,
                )
        except BaseException as error:
            self.connections.remove(exchange)
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
