"""Open connections: a limit to their number and age, and which one is closed at the limit.

Any client that reaches the port can open connections. If the limit refused new ones, such a client
could keep out the kubelet's probes and the operator. So a new one is always accepted, and at the
limit another one is closed: one without a token first, of the address that has the most.
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
"""For the head of a request, and for the first request of a connection to begin."""

REQUEST_TIMEOUT_S: Final = 30.0
"""From the first byte of a request to the end of its answer, whichever side is slow; and then for the client
to take what is still unsent."""

KEEP_ALIVE_S: Final = 75.0
"""For the next request, where one with a token came before. It is longer than clients keep an idle
connection, so that none is closed under a request."""

ACCEPTED: Final = "accepted"
"""Attribute of a request's state: its token is known."""

LASTING: Final = "lasting"
"""Attribute of a request's state: its answer is a download, which may take an hour."""

LASTING_TIMEOUT_S: Final = 3600.0

SEND_BUFFER: Final = 64 * 1024
"""Bytes that the kernel takes for a client that does not read; they count for the pod."""

BACKLOG: Final = 128
"""Connections that wait to be accepted, and those that asyncio accepts before it reads again: fewer
than may be open, or a burst would evict what has not been read yet."""

_SPARE_DESCRIPTORS: Final = 128
_LOOK_EVERY_S: Final = 1.0
_logger = logging.getLogger(__name__)


def raise_descriptor_limit() -> int:
    """Raise this process's soft limit of open files to the hard limit; return what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS refuses "unlimited"
        return soft
    return hard


def connections_within(wanted: int) -> int:
    """Return how many connections may be open such that files and databases can be opened, too."""
    limit = raise_descriptor_limit()
    room = limit - BACKLOG - _SPARE_DESCRIPTORS
    if limit == resource.RLIM_INFINITY or room >= wanted:
        return wanted
    fitting = max(room, 8)
    _logger.warning(
        "%d connections are allowed and the limit of open files (ulimit -n) is %d; %d it is",
        wanted,
        limit,
        fitting,
    )
    return fitting


class Connections:
    """All open connections; at most `limit`, then one is closed for each new one.

    `closed` counts those that we closed, by the reason.
    """

    def __init__(self, limit: int) -> None:
        self.limit: Final = limit
        self.closed: Final[Counter[str]] = Counter(evicted=0, slow=0, idle=0)
        self._open: Final[set[Connection]] = set()
        self._peers: Final[Counter[str]] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def __call__(self, **arguments: Any) -> "Connection":
        """Make the protocol of a new connection, as uvicorn asks for it."""
        return Connection(self, **arguments)

    def add(self, connection: "Connection") -> None:
        """Accept a connection; at the limit, close another one."""
        if len(self._open) >= self.limit:
            self._close(min(self._open, key=self._worth), "evicted")
        self._open.add(connection)
        self._peers[connection.peer] += 1

    def remove(self, connection: "Connection") -> None:
        """Forget a connection. It may have been forgotten before."""
        if connection in self._open:
            self._open.remove(connection)
            self._peers[connection.peer] -= 1
            if not self._peers[connection.peer]:
                del self._peers[connection.peer]

    async def watch_timeouts(self) -> None:
        """Close what is too slow or idle for too long, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self.close_overdue(asyncio.get_running_loop().time())

    def close_overdue(self, now: float) -> None:
        """Close what is too slow or idle for too long.

        Args:
            now: of the event loop's clock, in seconds.
        """
        for connection in [each for each in self._open if each.is_overdue(now)]:
            is_idle = connection.is_idle and not connection.is_sending
            self._close(connection, "idle" if is_idle else "slow")

    def _worth(self, connection: "Connection") -> tuple[bool, bool, int, float]:
        """Return its rank; the lowest is closed first. A request with a token comes last."""
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
                "%d connections are open, which is the limit: one of %s, which has %d more, was "
                "closed for the next",
                self.limit,
                connection.peer,
                self._peers[connection.peer],
            )
        connection.abort()


class Connection(H11Protocol):
    """A connection of uvicorn's that records when its present state began."""

    def __init__(self, book: Connections, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._book: Final = book
        self.peer = ""
        self.since = self.loop.time()
        """When the connection became idle, or the first byte of its request came."""

        self.is_idle = True
        """True if no request is being received or answered."""

        self.is_sending = False
        """True if an answer was made whose client has not taken all of it yet."""

        self.is_known = False
        """True if a request with a known token has been answered."""

    @property
    def is_accepted(self) -> bool:
        """True if the request that is being answered has a known token."""
        return self._is(ACCEPTED)

    def _is(self, mark: str) -> bool:
        # There is none before the first request.
        scope: HTTPScope | None = self.scope
        return scope is not None and bool(scope["state"].get(mark))

    def is_overdue(self, now: float) -> bool:
        """Return True if the present state has lasted too long."""
        self._look_what_is_unsent(now)
        limit = HEAD_TIMEOUT_S
        if self.is_sending:
            limit = LASTING_TIMEOUT_S if self._is(LASTING) else REQUEST_TIMEOUT_S
        elif self.is_idle:
            limit = KEEP_ALIVE_S if self.is_known else HEAD_TIMEOUT_S
        elif self.conn.their_state is not h11.IDLE:
            limit = LASTING_TIMEOUT_S if self._is(LASTING) else REQUEST_TIMEOUT_S
        return now - self.since > limit

    def _look_what_is_unsent(self, now: float) -> None:
        """Begin the time anew once the client has taken its answer."""
        if self.is_sending and not self._unsent():
            self.is_sending = False
            self.since = now

    def _unsent(self) -> int:
        """Return how many bytes wait for the client, beside what the kernel holds."""
        transport: Any = self.transport
        size: int = transport.get_write_buffer_size()
        # Of TLS, asyncio counts what is not encrypted yet, and has no public name for the rest.
        inner = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
        return size + (inner.get_write_buffer_size() if inner is not None else 0)

    def abort(self) -> None:
        """End it now: `close` would wait for the peer to read what is still to be sent."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Add it to the open connections, and limit what the kernel buffers."""
        found = transport.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        super().connection_made(transport)
        self.peer = self.client[0] if self.client else ""
        self._book.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it. After a reset uvicorn leaves its timer running, which keeps it in memory."""
        self._book.remove(self)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Forget it: from now on it is a WebSocket's, which has limits of its own."""
        self._book.remove(self)
        super().handle_websocket_upgrade(event)

    def data_received(self, data: bytes) -> None:
        """Note when the request began."""
        now = self.loop.time()
        self._look_what_is_unsent(now)
        if self.is_idle:
            self.is_idle = False
            if not self.is_sending:  # else its time goes on: a further request gives no more of it
                self.since = now
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Note that the request is answered, unless the next one has begun already.

        All of the answer is written, which does not mean that the client has taken it.
        """
        self.is_known = self.is_known or self.is_accepted
        answered = self.scope
        super().on_response_complete()
        if self.scope is answered and self.conn.their_state is not h11.IDLE:
            return  # the rest of an unread body: its request's time goes on
        now = self.loop.time()
        self._look_what_is_unsent(now)
        if not self.is_sending:
            self.since = now
            self.is_sending = self._unsent() > 0
        self.is_idle = self.scope is answered and not self.conn.trailing_data[0]
        if self.scope is answered:
            answered["state"].pop(ACCEPTED, None)
