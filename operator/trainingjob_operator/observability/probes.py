"""Serves `/healthz`, `/readyz` and `/metrics` to whoever asks, and survives whoever does.

`/healthz` judges our own loop and workers only: an API server that cannot be reached is no reason
to restart us. `/readyz` says whether the picture of the cluster is complete; a standby is ready.

Every pod of the cluster may be able to reach this port. What it can cost is bounded: `CONNECTIONS`
connections (`places`), a few seconds and kilobytes for each (`exchange`), one rendering of the
metrics in a second, and no line in the log.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Final

from trainingjob_operator.descriptors import descriptor_limit
from trainingjob_operator.observability.counters import CONTENT_TYPE
from trainingjob_operator.observability.exchange import Answer, Exchange
from trainingjob_operator.observability.places import Places

Check = Callable[[], str | None]
"""Returns what is wrong, or None."""

CONNECTIONS: Final = 128
"""Connections that are open at most; fewer where the process may open few files."""
_SHARE: Final = 4
"""One in so many of the files that the process may open is for connections to this port."""
_BACKLOG: Final = 1024
"""Connections that the kernel holds for us; it may hold fewer (`net.core.somaxconn`)."""
_ACCEPTED_AT_ONCE: Final = 64
"""Connections that are accepted before the loop does something else."""
_PAUSE_S: Final = 0.1
"""After an accept that failed for want of descriptors or memory."""
_NO_SUCH_FAMILY: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""What a node without IPv6, or without IPv4, says to a listener on every address."""
_PAGE_LASTS_S: Final = 1.0
"""For so long `/metrics` shows what was rendered last: rendering goes through the whole index."""


class WebServer:
    """Serves the probes, whose answers are one line of text, and the metrics."""

    def __init__(
        self,
        address: str,
        *,
        healthy: Check,
        ready: Check,
        metrics: Callable[[], bytes],
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        """Prepare to serve.

        Args:
            address: `host:port`; without a host, every address of either family.
            healthy: for `/healthz`.
            ready: for `/readyz`.
            metrics: what `/metrics` shows, in the text format of Prometheus.
            leads: False on a standby, whose `/readyz` says so.
        """
        host, _, port = address.rpartition(":")
        self._host: Final = host.strip("[]") or None
        self._port: Final = int(port)
        self._metrics: Final = metrics
        self._page: bytes | None = None
        self._pages: Final[dict[str, Callable[[], Answer]]] = {
            "/healthz": partial(_probe, healthy),
            "/readyz": partial(_probe, ready, leads),
            "/metrics": self._metrics_page,
        }
        self.places: Final[Places[Exchange]] = Places(
            min(CONNECTIONS, descriptor_limit() // _SHARE)
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
        self.places.close_all()
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
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # No descriptors or no memory: one of ours for the next one, after a pause.
                self.places.make_room()
                self._pause(listener)
                return
            connection.setblocking(False)
            self._take_in(connection, str(peer[0]))

    def _take_in(self, connection: socket.socket, address: str) -> None:
        exchange = Exchange(address, self._answer, lambda: self.places.leave(exchange))
        self.places.take(exchange)
        task = asyncio.get_running_loop().create_task(self._connect(connection, exchange))
        self._arrivals.add(task)
        task.add_done_callback(self._arrivals.discard)

    async def _connect(self, connection: socket.socket, exchange: Exchange) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: exchange, connection)
        except OSError:
            self.places.leave(exchange)
            connection.close()

    def _pause(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        loop.call_later(_PAUSE_S, self._resume, listener)

    def _resume(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _answer(self, path: str) -> Answer | None:
        page = self._pages.get(path)
        return page() if page is not None else None

    def _metrics_page(self) -> Answer:
        if self._page is None:
            self._page = self._metrics()
            asyncio.get_running_loop().call_later(_PAGE_LASTS_S, self._forget_page)
        return Answer(self._page, content_type=CONTENT_TYPE)

    def _forget_page(self) -> None:
        self._page = None


def _probe(check: Check, leads: Callable[[], bool] = lambda: True) -> Answer:
    wrong = check()
    status = HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK
    fine = "ok" if leads() else "ok, standby: leader=false"
    return Answer(f"{wrong or fine}\n".encode(), status)


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
