"""Handles one HTTP connection to the operator's port: one request, one response, a few seconds in all.

A general HTTP server waits without a limit for the rest of a request, keeps the connection open for
the next one, and buffers what the client sends. Every pod can reach this port. So a connection here
has one total deadline, `LIFE_S` after it was accepted. It accepts `MAX_HEAD` bytes of request head
and no body, and is closed after its response.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

LIFE_S: Final = 10.0
"""Seconds from the accept of a connection to its close. A response takes milliseconds."""
MAX_HEAD: Final = 8192
"""Maximum bytes of a request head. That of a probe or a scrape has a few hundred."""
_MAX_IGNORED: Final = 8 * MAX_HEAD
"""Bytes after the head that are read and discarded: closing with unread data would send a reset, and
the client could lose the response."""
_PLAIN: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = _PLAIN


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request.

    Attributes:
        path: the path without the query.
        authorization: the Authorization header; "": there is none.
    """

    path: str
    authorization: str = ""


PendingResponse = Coroutine[None, None, Response]
"""A response that takes some time; it is cancelled when the connection closes."""
Handler = Callable[[Request], Response | PendingResponse | None]
"""Returns the response to a request; None: 404."""


class HttpConnection(asyncio.Protocol):
    """Reads a request, answers it, and closes the connection."""

    def __init__(self, address: str, handler: Handler, on_closed: Callable[[], None]) -> None:
        """Prepare for a connection that is being established.

        Args:
            address: the client's IP address, without the port.
            handler: returns the response to a request.
            on_closed: called once, when the connection is closed.
        """
        self.address: Final = address
        self._handler: Final = handler
        self._on_closed: Final = on_closed
        self._head = b""
        self._ignored = 0
        self._has_response = False
        self._is_aborted = False
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._work: asyncio.Task[None] | None = None
        self.handshake: asyncio.Task[None] | None = None
        """The task that establishes a TLS connection; the client decides how long that takes."""

    def abort(self) -> None:
        """Close the connection at once; one that is being established is closed when it is."""
        self._is_aborted = True
        if self._transport is None and self.handshake is not None:
            self.handshake.cancel()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the connection's deadline."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._is_aborted:
            transport.abort()
            return
        self._deadline = asyncio.get_running_loop().call_later(LIFE_S, self.abort)

    def data_received(self, data: bytes) -> None:
        """Buffer the head of the request, and respond as soon as it is complete."""
        if self._has_response:
            self._ignored += len(data)
            if self._ignored > _MAX_IGNORED:
                self.abort()
            return
        self._head += data[: MAX_HEAD + 1 - len(self._head)]
        if b"\r\n\r\n" in self._head:
            self._respond()
        elif len(self._head) > MAX_HEAD:
            self._send(status_response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))

    def eof_received(self) -> bool:
        """Close the connection once the written data was sent."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything, however the connection ended: normally, by a reset, or by `abort`."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self._work is not None:
            self._work.cancel()
        self._head = b""
        self._transport = None
        self._on_closed()

    def _respond(self) -> None:
        line = self._head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(line) != 3 or not line[2].startswith("HTTP/1."):  # noqa: PLR2004 - method, path, version
            self._send(status_response(HTTPStatus.BAD_REQUEST))
        elif line[0] not in {"GET", "HEAD"}:
            self._send(status_response(HTTPStatus.METHOD_NOT_ALLOWED))
        else:
            self._handle(line[1], has_body=line[0] == "GET")

    def _handle(self, target: str, *, has_body: bool) -> None:
        try:
            request = Request(urlsplit(target).path, _authorization(self._head))
        except ValueError:
            self._send(status_response(HTTPStatus.BAD_REQUEST))
            return
        try:
            response = self._handler(request)
        except Exception as error:  # noqa: BLE001 - one failed request must not stop the server
            self._send(_failed(request, error), has_body=has_body)
            return
        if response is None or isinstance(response, Response):
            self._send(response or status_response(HTTPStatus.NOT_FOUND), has_body=has_body)
            return
        # A response is under way: further data is not part of the request.
        self._has_response = True
        self._head = b""
        work = self._send_later(request, response, has_body=has_body)
        self._work = asyncio.get_running_loop().create_task(work)

    async def _send_later(
        self, request: Request, response: PendingResponse, *, has_body: bool
    ) -> None:
        try:
            found = await response
        except Exception as error:  # noqa: BLE001 - as above
            found = _failed(request, error)
        self._send(found, has_body=has_body)

    def _send(self, response: Response, *, has_body: bool = True) -> None:
        self._has_response = True
        self._head = b""
        if self._transport is None or self._transport.is_closing():
            return
        head = [
            f"HTTP/1.1 {response.status.value} {response.status.phrase}",
            f"Content-Type: {response.content_type}",
            f"Content-Length: {len(response.body)}",
            "Connection: close",
        ]
        if response.status is HTTPStatus.METHOD_NOT_ALLOWED:
            head.append("Allow: GET, HEAD")
        if response.status is HTTPStatus.UNAUTHORIZED:
            head.append("WWW-Authenticate: Bearer")
        self._transport.write("\r\n".join([*head, "", ""]).encode("latin-1"))
        if has_body:
            self._transport.write(response.body)
        # Half-close: the client reads the response and closes, or the deadline does.
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:  # asyncio's TLS cannot half-close; `close` still sends what was written
            self._transport.close()


def _authorization(head: bytes) -> str:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"authorization":
            return value.strip().decode("latin-1")
    return ""


def _failed(request: Request, error: Exception) -> Response:
    # Logged by the loop's exception handler, which is rate-limited: clients can repeat the request.
    asyncio.get_running_loop().call_exception_handler(
        {"message": f"cannot answer {request.path[:100]!r}", "exception": error}
    )
    return status_response(HTTPStatus.INTERNAL_SERVER_ERROR)


def status_response(status: HTTPStatus) -> Response:
    """Return a response whose body is the reason phrase of this status."""
    return Response(f"{status.phrase}\n".encode(), status)
