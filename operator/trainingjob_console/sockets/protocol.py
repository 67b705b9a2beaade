"""uvicorn's WebSocket with limits that it lacks: what waits to be looked at, and how an end comes."""

from asyncio import TimerHandle
from collections.abc import Callable
from typing import Any, Final

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Request

CLOSE_S: Final = 2.0
"""For the peer to answer a close frame; then the connection is aborted, whatever is unsent."""

MAX_UNREAD: Final = 64
"""Frames of the client's that wait to be looked at: one read of the socket can bring thousands."""

END: Final = "end_socket"
"""Attribute of the scope's state: ends the socket, with a code and a reason, and waits for nothing."""

WHEN_GONE: Final = "when_gone"
"""Attribute of the scope's state: takes what is called once nothing of the connection is left."""


class SocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket that always comes to its end.

    `close` of a transport waits until the peer has read all that was written, and one that never
    reads holds it until TCP gives up, a quarter of an hour later. So each end, whoever began it, is
    followed by an abort.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._abort_timer: TimerHandle | None = None
        self._when_gone: Final[list[Callable[[], None]]] = []

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that nothing is left."""
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        super().connection_lost(exc)
        for call in self._when_gone:
            call()
        self._when_gone.clear()

    def when_gone(self, call: Callable[[], None]) -> None:
        """Call this once nothing of the connection is left; at once if so it is."""
        if self.disconnected:
            call()
        else:
            self._when_gone.append(call)

    def handle_connect(self, event: Request) -> None:
        """Give the application a way to end the socket, and to learn of its end."""
        super().handle_connect(event)
        if self.response.status_code == 101:  # noqa: PLR2004 - the upgrade; else no task was begun
            self.scope["state"][END] = self.end
            self.scope["state"][WHEN_GONE] = self.when_gone

    async def run_asgi(self) -> None:
        """Run the application; the connection ends with it."""
        await super().run_asgi()
        self._abort_soon()

    async def send(self, message: ASGISendEvent) -> None:
        """Send; a refusal ends the handshake, which uvicorn would report as an error of ours."""
        await super().send(message)
        self.handshake_complete = self.handshake_complete or self.close_sent

    def send_receive_event_to_app(self) -> None:
        """End a client that sends more frames than are looked at."""
        if self.queue.qsize() >= MAX_UNREAD:
            self.frames = []
            self.end(1008, "too many frames")
            return
        super().send_receive_event_to_app()

    def handle_close(self, event: Frame) -> None:
        """End with the client, which may be one that reads nothing more."""
        super().handle_close(event)
        self._abort_soon()

    def handle_parser_exception(self) -> None:
        """End a client that breaks the protocol."""
        super().handle_parser_exception()
        self._abort_soon()

    def eof_received(self) -> None:
        """End with the client: half a connection is none."""
        super().eof_received()
        self._abort_soon()

    def shutdown(self) -> None:
        """End with the server, 1012."""
        super().shutdown()
        self._abort_soon()

    def end(self, code: int, reason: str = "") -> None:
        """End the socket: a close frame behind all that is unsent, and an abort soon after."""
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
            if self.read_paused:  # to see the answer of the peer
                self.read_paused = False
                self.transport.resume_reading()
        # uvicorn closes a transport without such a timer at once, and sees no answer of the peer.
        self.close_timer = self.close_timer or self.loop.call_later(CLOSE_S, self.transport.close)
        self._abort_soon()

    def _abort_soon(self) -> None:
        """Give the peer `CLOSE_S` to read the rest. A timer of its own: an answer ends uvicorn's."""
        if self._abort_timer is None and not self.disconnected:
            self._abort_timer = self.loop.call_later(CLOSE_S, self.transport.abort)
