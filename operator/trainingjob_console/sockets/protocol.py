"""Extends uvicorn's WebSocket protocol with a limit of queued frames and a bounded time to close."""

from asyncio import TimerHandle
from collections.abc import Callable
from typing import Any, Final

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Request

CLOSE_S: Final = 2.0
"""Time for the peer to answer a close frame; then the connection is aborted, even with unsent data."""

MAX_QUEUED_FRAMES: Final = 64
"""Maximum number of unprocessed frames of a client: one read of the socket can return thousands."""

END: Final = "end_socket"
"""Attribute of the scope's state: a function that closes the socket with a code and a reason, without waiting."""

ON_CLOSED: Final = "on_closed"
"""Attribute of the scope's state: registers a callback for when the connection is closed."""


class SocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket that is always closed within a bounded time.

    `close` of a transport waits until the peer has read all written data. A peer that never reads keeps the connection
    open until TCP times out, after a quarter of an hour. So every close, from either side, is followed by an abort.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._abort_timer: TimerHandle | None = None
        self._on_closed: Final[list[Callable[[], None]]] = []

    def connection_lost(self, exc: Exception | None) -> None:
        """Run the callbacks for the closed connection."""
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        super().connection_lost(exc)
        for call in self._on_closed:
            call()
        self._on_closed.clear()

    def on_closed(self, call: Callable[[], None]) -> None:
        """Call this when the connection is closed; at once if it is closed already."""
        if self.disconnected:
            call()
        else:
            self._on_closed.append(call)

    def handle_connect(self, event: Request) -> None:
        """Provide the application with functions to close the socket, and to be notified when it is closed."""
        super().handle_connect(event)
        if self.response.status_code == 101:  # noqa: PLR2004 - the upgrade; else no task was started
            self.scope["state"][END] = self.end
            self.scope["state"][ON_CLOSED] = self.on_closed

    async def run_asgi(self) -> None:
        """Run the application, and close the connection when it returns."""
        await super().run_asgi()
        self._abort_soon()

    async def send(self, message: ASGISendEvent) -> None:
        """Send a message. A rejection completes the handshake; else uvicorn would log an application error."""
        await super().send(message)
        self.handshake_complete = self.handshake_complete or self.close_sent

    def send_receive_event_to_app(self) -> None:
        """Close the socket of a client that sends frames faster than they are processed."""
        if self.queue.qsize() >= MAX_QUEUED_FRAMES:
            self.frames = []
            self.end(1008, "too many frames")
            return
        super().send_receive_event_to_app()

    def handle_close(self, event: Frame) -> None:
        """Close with the client, and abort soon: the client may never read again."""
        super().handle_close(event)
        self._abort_soon()

    def handle_parser_exception(self) -> None:
        """Close the socket of a client that violates the protocol."""
        super().handle_parser_exception()
        self._abort_soon()

    def eof_received(self) -> None:
        """Close with the client: half-closed connections are not supported."""
        super().eof_received()
        self._abort_soon()

    def shutdown(self) -> None:
        """Close with the server, with code 1012."""
        super().shutdown()
        self._abort_soon()

    def end(self, code: int, reason: str = "") -> None:
        """Close the socket: send a close frame after the unsent data, and abort soon after."""
        if self.disconnected:
            return
        if not self.close_sent and self.handshake_complete and not self.transport.is_closing():
            self.close_sent = True
            try:
                self.conn.send_close(code, reason)
            except InvalidState:
                pass
            else:
                self.transport.write(b"".join(self.conn.data_to_send()))
            gone: Any = {"type": "websocket.disconnect", "code": code, "reason": reason}
            self.queue.put_nowait(gone)
            if self.read_paused:  # to read the close frame of the peer
                self.read_paused = False
                self.transport.resume_reading()
        # Without a close timer uvicorn closes the transport at once, and does not read the peer's close frame.
        self.close_timer = self.close_timer or self.loop.call_later(CLOSE_S, self.transport.close)
        self._abort_soon()

    def _abort_soon(self) -> None:
        """Abort after `CLOSE_S`. A separate timer, as uvicorn cancels its own when the peer answers."""
        if self._abort_timer is None and not self.disconnected:
            self._abort_timer = self.loop.call_later(CLOSE_S, self.transport.abort)
