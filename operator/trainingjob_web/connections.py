"""Limits the number and the age of open HTTP connections, and chooses which one to close at the limit.

Any client that reaches the port can open connections. If new connections were refused at the limit,
such a client could shut out the kubelet's probes and the operator. So a new connection is always
accepted, and at the limit another one is closed: first one without a valid token, of the address
with the most connections.
"""

import asyncio
import logging
import resource
import socket
from collections import Counter
from typing import Any, Final

import h11
from uvicorn._types import HTTPScope
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_TIMEOUT_S: Final = 10.0
"""Timeout of a request's head, and of the start of the first request on a connection."""

REQUEST_TIMEOUT_S: Final = 30.0
"""Timeout from the first byte of a request to the end of its response, whichever side is slow; and then
again for the client to read the unsent rest."""

KEEP_ALIVE_S: Final = 75.0
"""Idle timeout of a connection after a request with a valid token. It is longer than clients keep an
idle connection open, so that no connection is closed just as a request is sent."""

ACCEPTED: Final = "accepted"
"""Attribute of a request's state: its token is valid."""

LASTING: Final = "lasting"
"""Attribute of a request's state: its response is a download, which may take an hour."""

LASTING_TIMEOUT_S: Final = 3600.0

SEND_BUFFER: Final = 64 * 1024
"""Bytes that the kernel buffers for a client that does not read; they count as the pod's memory."""

BACKLOG: Final = 128
"""Connections that wait to be accepted; asyncio also accepts this many before it reads from any. It
must be lower than the limit, or a burst would evict connections before their requests are read."""

_SPARE_DESCRIPTORS: Final = 128
_CHECK_EVERY_S: Final = 1.0
_logger = logging.getLogger(__name__)


def raise_descriptor_limit() -> int:
    """Raise this process's soft limit of open files to the hard limit; return the new soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS refuses "unlimited"
        return soft
    return hard


def connections_within(wanted: int) -> int:
    """Return the connection limit: `wanted`, or less so that file descriptors are left for other uses."""
    limit = raise_descriptor_limit()
    available = limit - BACKLOG - _SPARE_DESCRIPTORS
    if limit == resource.RLIM_INFINITY or available >= wanted:
        return wanted
    fitting_limit = max(available, 8)
    _logger.warning(
        "the settings allow %d connections, but the limit of open files (ulimit -n) is %d; "
        "the connection limit is %d",
        wanted,
        limit,
        fitting_limit,
    )
    return fitting_limit


class Connections:
    """All open connections. Bound: `limit`; at the limit, one is closed for each new one.

    Attributes:
        limit: limit of open connections.
        closed: number of connections that we closed, by reason.
    """

    def __init__(self, limit: int) -> None:
        self.limit: Final = limit
        self.closed: Final[Counter[str]] = Counter(evicted=0, slow=0, idle=0)
        self._open: Final[set[Connection]] = set()
        self._peers: Final[Counter[str]] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def __call__(self, **arguments: Any) -> "Connection":
        """Create the protocol object of a new connection; uvicorn calls this."""
        return Connection(self, **arguments)

    def add(self, connection: "Connection") -> None:
        """Add a connection; at the limit, close another one first."""
        if len(self._open) >= self.limit:
            self._close(min(self._open, key=self._eviction_rank), "evicted")
        self._open.add(connection)
        self._peers[connection.peer] += 1

    def remove(self, connection: "Connection") -> None:
        """Remove a connection; do nothing if it was removed before."""
        if connection in self._open:
            self._open.remove(connection)
            self._peers[connection.peer] -= 1
            if not self._peers[connection.peer]:
                del self._peers[connection.peer]

    async def watch_timeouts(self) -> None:
        """Close connections that are too slow or idle for too long, until cancelled."""
        while True:
            await asyncio.sleep(_CHECK_EVERY_S)
            self.close_overdue(asyncio.get_running_loop().time())

    def close_overdue(self, now: float) -> None:
        """Close connections that are too slow or idle for too long.

        Args:
            now: time of the event loop's clock, in seconds.
        """
        for connection in [each for each in self._open if each.is_overdue(now)]:
            is_idle = connection.is_idle and not connection.is_sending
            self._close(connection, "idle" if is_idle else "slow")

    def _eviction_rank(self, connection: "Connection") -> tuple[bool, bool, int, float]:
        """Return a sort key; the lowest is evicted first, a request with a valid token last."""
        return (
            connection.is_accepted and not connection.is_idle,
            connection.is_known,
            -self._peers[connection.peer],
            connection.since,
        )

    def _close(self, connection: "Connection", reason: str) -> None:
        self.closed[reason] += 1
        self.remove(connection)
        if reason == "evicted":
            _logger.warning(
                "the limit of %d open connections is reached: one of %s, which has %d more, was "
                "closed for a new one",
                self.limit,
                connection.peer,
                self._peers[connection.peer],
            )
        connection.abort()


class Connection(H11Protocol):
    """A uvicorn connection that records since when it is in its current state."""

    def __init__(self, book: Connections, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._book: Final = book
        self.peer = ""
        self.since = self.loop.time()
        """Time when the connection became idle, or the first byte of its request was received."""

        self.is_idle = True
        """True if no request is being received or processed."""

        self.is_sending = False
        """True if a response is complete, but the client has not read all of it yet."""

        self.is_known = False
        """True after the response to a request with a valid token."""

    @property
    def is_accepted(self) -> bool:
        """True if the current request has a valid token."""
        return self._is(ACCEPTED)

    def _is(self, mark: str) -> bool:
        # There is no scope before the first request.
        scope: HTTPScope | None = self.scope
        return scope is not None and bool(scope["state"].get(mark))

    def is_overdue(self, now: float) -> bool:
        """Return True if the current state has lasted longer than its timeout."""
        self._update_sending(now)
        limit = HEAD_TIMEOUT_S
        if self.is_sending:
            limit = LASTING_TIMEOUT_S if self._is(LASTING) else REQUEST_TIMEOUT_S
        elif self.is_idle:
            limit = KEEP_ALIVE_S if self.is_known else HEAD_TIMEOUT_S
        elif self.conn.their_state is not h11.IDLE:
            limit = LASTING_TIMEOUT_S if self._is(LASTING) else REQUEST_TIMEOUT_S
        return now - self.since > limit

    def _update_sending(self, now: float) -> None:
        """End the sending state, and restart the timeout, once the client has read its response."""
        if self.is_sending and not self._unsent():
            self.is_sending = False
            self.since = now

    def _unsent(self) -> int:
        """Return the number of bytes that wait for the client, without those in the kernel's buffer."""
        transport: Any = self.transport
        size: int = transport.get_write_buffer_size()
        # With TLS, asyncio counts only unencrypted bytes, and has no public name for the rest.
        inner = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
        return size + (inner.get_write_buffer_size() if inner is not None else 0)

    def abort(self) -> None:
        """Close it at once: `close` would wait until the client has read the unsent rest."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Add it to the open connections, and limit the kernel's send buffer."""
        found = transport.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        super().connection_made(transport)
        self.peer = self.client[0] if self.client else ""
        self._book.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove it. Stop uvicorn's timer, which after a reset would keep the object in memory."""
        self._book.remove(self)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Remove it: from now on it is a WebSocket, which has limits of its own."""
        self._book.remove(self)
        super().handle_websocket_upgrade(event)

    def data_received(self, data: bytes) -> None:
        """Note when the request began."""
        now = self.loop.time()
        self._update_sending(now)
        if self.is_idle:
            self.is_idle = False
            if not self.is_sending:  # else the timeout goes on: a new request must not extend it
                self.since = now
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Note that the response is complete, unless the next request has begun already.

        The response is written completely, but the client may not have read all of it yet.
        """
        self.is_known = self.is_known or self.is_accepted
        answered = self.scope
        super().on_response_complete()
        if self.scope is answered and self.conn.their_state is not h11.IDLE:
            return  # the rest of the body is still unread: its request's timeout goes on
        now = self.loop.time()
        self._update_sending(now)
        if not self.is_sending:
            self.since = now
            self.is_sending = self._unsent() > 0
        self.is_idle = self.scope is answered and not self.conn.trailing_data[0]
        if self.scope is answered:
            answered["state"].pop(ACCEPTED, None)
