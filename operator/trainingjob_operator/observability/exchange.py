"""One connection to the operator's port: one request, one answer, a few seconds in all.

An HTTP server for general use waits as long as a client likes for the rest of a request, keeps its
connection for the next one, and buffers what it sends. Everybody can reach this port, so here a
connection has one deadline for everything, `LIFE_S` after it was accepted, takes `MAX_HEAD` bytes
of request and no body, and is closed after its answer.
"""

import asyncio
from collections.abc import Callable
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
class Answer:
    """The answer to a request."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = _PLAIN


Handler = Callable[[str], Answer | None]
"""Returns the answer for a path; None: there is no such path."""


class Exchange(asyncio.Protocol):
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

    def abort(self) -> None:
        """Close the connection at once; one that is still to be made closes then."""
        self._is_aborted = True
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
            self._send(_told(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))

    def eof_received(self) -> bool:
        """Close the connection once what was written has gone out."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave nothing behind, however the connection ended: in order, by a reset, by us."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._head = b""
        self._transport = None
        self._on_closed()

    def _answer(self) -> None:
        line = self._head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(line) != 3 or not line[2].startswith("HTTP/1."):  # noqa: PLR2004 - method, path, version
            self._send(_told(HTTPStatus.BAD_REQUEST))
        elif line[0] not in {"GET", "HEAD"}:
            self._send(_told(HTTPStatus.METHOD_NOT_ALLOWED))
        else:
            self._send(self._answer_to(line[1]), has_body=line[0] == "GET")

    def _answer_to(self, target: str) -> Answer:
        try:
            path = urlsplit(target).path
        except ValueError:
            return _told(HTTPStatus.BAD_REQUEST)
        try:
            return self._handler(path) or _told(HTTPStatus.NOT_FOUND)
        except Exception as error:  # noqa: BLE001 - the others' answers do not depend on it
            # Through the loop, whose log lines are limited: anybody can ask again and again.
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"cannot answer {path[:100]!r}", "exception": error}
            )
            return _told(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _send(self, answer: Answer, *, has_body: bool = True) -> None:
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
        self._transport.write("\r\n".join([*head, "", ""]).encode("latin-1"))
        if has_body:
            self._transport.write(answer.body)
        # Half closed: the client reads the answer and closes, or the deadline does.
        self._transport.write_eof()


def _told(status: HTTPStatus) -> Answer:
    return Answer(f"{status.phrase}\n".encode(), status)
