"""One connection to the operator's port: one request, one answer, a few seconds in all.

An HTTP server for general use waits as long as a client likes for the rest of a request, keeps its
connection for the next one, and buffers what it sends. Everybody can reach this port, so here a
connection has one deadline for everything, `LIFE_S` after it was accepted, takes `MAX_HEAD` bytes
of request and no body, and is closed after its answer.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

LIFE_S: Final = 10.0
"""Seconds from the acceptance of a connection to its end. Answers take milliseconds."""
MAX_HEAD: Final = 8192
"""Bytes that the head of a request may have. That of a probe or a scrape has a few hundred."""
_MAX_IGNORED: Final = 8 * MAX_HEAD
"""Bytes after the head that are read and thrown away, so that the answer is not lost to a reset."""
_PLAIN: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a request."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = _PLAIN


@dataclass(frozen=True, slots=True)
class Request:
    """The request of a client.

    Attributes:
        path: without its query.
        authorization: the header of that name; "": there is none.
    """

    path: str
    authorization: str = ""


PendingResponse = Coroutine[None, None, Response]
"""An answer that takes some time; it is cancelled when the connection ends."""
Handler = Callable[[Request], Response | PendingResponse | None]
"""Returns the answer to a request; None: there is no such path."""


class HttpConnection(asyncio.Protocol):
    """Reads a request, answers it, and closes the connection."""

    def __init__(self, address: str, handler: Handler, on_closed: Callable[[], None]) -> None:
        """Prepare for a connection that is about to be made.

        Args:
            address: that of the client, without its port.
            handler: what answers.
            on_closed: called once, when the connection is closed.
        """
        self.address: Final = address
        self._handler: Final = handler
        self._on_closed: Final = on_closed
        self._head = b""
        self._ignored = 0
        self._is_answered = False
        self._is_aborted = False
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._work: asyncio.Task[None] | None = None
        self.arrival: asyncio.Task[None] | None = None
        """Makes the connection, which with TLS takes as long as the client likes."""

    def abort(self) -> None:
        """Close the connection at once; one that is still to be made closes then."""
        self._is_aborted = True
        if self._transport is None and self.arrival is not None:
            self.arrival.cancel()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the time that the connection has."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._is_aborted:
            transport.abort()
            return
        self._deadline = asyncio.get_running_loop().call_later(LIFE_S, self.abort)

    def data_received(self, data: bytes) -> None:
        """Collect the head of the request, and answer as soon as it is complete."""
        if self._is_answered:
            self._ignored += len(data)
            if self._ignored > _MAX_IGNORED:
                self.abort()
            return
        self._head += data[: MAX_HEAD + 1 - len(self._head)]
        if b"\r\n\r\n" in self._head:
            self._answer()
        elif len(self._head) > MAX_HEAD:
            self._send(status_response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))

    def eof_received(self) -> bool:
        """Close the connection once what was written has gone out."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave nothing behind, however the connection ended: in order, by a reset, by us."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self._work is not None:
            self._work.cancel()
        self._head = b""
        self._transport = None
        self._on_closed()

    def _answer(self) -> None:
        line = self._head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(line) != 3 or not line[2].startswith("HTTP/1."):  # noqa: PLR2004 - method, path, version
            self._send(status_response(HTTPStatus.BAD_REQUEST))
        elif line[0] not in {"GET", "HEAD"}:
            self._send(status_response(HTTPStatus.METHOD_NOT_ALLOWED))
        else:
            self._take(line[1], has_body=line[0] == "GET")

    def _take(self, target: str, *, has_body: bool) -> None:
        try:
            request = Request(urlsplit(target).path, _authorization(self._head))
        except ValueError:
            self._send(status_response(HTTPStatus.BAD_REQUEST))
            return
        try:
            answer = self._handler(request)
        except Exception as error:  # noqa: BLE001 - the others' answers do not depend on it
            self._send(_failed(request, error), has_body=has_body)
            return
        if answer is None or isinstance(answer, Response):
            self._send(answer or status_response(HTTPStatus.NOT_FOUND), has_body=has_body)
            return
        self._is_answered = True  # it will be: what comes now is no part of the request
        self._head = b""
        work = self._send_later(request, answer, has_body=has_body)
        self._work = asyncio.get_running_loop().create_task(work)

    async def _send_later(
        self, request: Request, answer: PendingResponse, *, has_body: bool
    ) -> None:
        try:
            found = await answer
        except Exception as error:  # noqa: BLE001 - as above
            found = _failed(request, error)
        self._send(found, has_body=has_body)

    def _send(self, answer: Response, *, has_body: bool = True) -> None:
        self._is_answered = True
        self._head = b""
        if self._transport is None or self._transport.is_closing():
            return
        head = [
            f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
            f"Content-Type: {answer.content_type}",
            f"Content-Length: {len(answer.body)}",
            "Connection: close",
        ]
        if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
            head.append("Allow: GET, HEAD")
        if answer.status is HTTPStatus.UNAUTHORIZED:
            head.append("WWW-Authenticate: Bearer")
        self._transport.write("\r\n".join([*head, "", ""]).encode("latin-1"))
        if has_body:
            self._transport.write(answer.body)
        # Half closed: the client reads the answer and closes, or the deadline does.
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:  # TLS has no such thing: what was written still goes out
            self._transport.close()


def _authorization(head: bytes) -> str:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"authorization":
            return value.strip().decode("latin-1")
    return ""


def _failed(request: Request, error: Exception) -> Response:
    # Through the loop, whose log lines are limited: anybody can ask again and again.
    asyncio.get_running_loop().call_exception_handler(
        {"message": f"cannot answer {request.path[:100]!r}", "exception": error}
    )
    return status_response(HTTPStatus.INTERNAL_SERVER_ERROR)


def status_response(status: HTTPStatus) -> Response:
    """Return the phrase of a status as its answer."""
    return Response(f"{status.phrase}\n".encode(), status)
