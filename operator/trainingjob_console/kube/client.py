"""HTTP client of the API server: a deadline and a size limit on each call, uniform errors, log and watch streams."""

import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Literal, TypeVar

import aiohttp

from trainingjob_console.deadlines import StallTolerantTimeout
from trainingjob_console.errors import ApiServerError, BusyError
from trainingjob_console.kube.credentials import Account
from trainingjob_console.kube.response_reader import Object, ResponseReader

T = TypeVar("T")

CALLS: Final = 64
"""Concurrent calls with users' tokens; as many again with the console's own account. Further calls wait, within
their deadline."""

MAX_LOGS: Final = 320
"""Log streams that may be open at once."""

_CALL_S: Final = 10.0
_CONNECT_S: Final = 5.0
_MAX_REFUSAL: Final = 64 * 1024
_MAX_MESSAGE: Final = 1000

_KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""TCP keep-alive: after 30 s of silence, three probes in 30 s. A log may be silent for an hour; without
keep-alive its reader would not notice that the connection is dead."""

_Use = Literal["own", "user", "own logs", "user logs", "watch"]


class Kube:
    """Calls the API server as a user or as the console itself. Open and close it in the same event loop.

    Everywhere here `token=None` means the console's own account. Any string is a user's token, which is
    sent on connections without the console's client certificate.

    Attributes:
        response_reader: reads all responses except logs and watches.
    """

    def __init__(self, account: Account, *, max_logs: int = MAX_LOGS) -> None:
        """Create the client; nothing is opened yet.

        Args:
            account: the API server's URL, and the console's own credentials.
            max_logs: the maximum number of open log streams; watches do not count.
        """
        self._account: Final = account
        self._sessions: dict[_Use, aiohttp.ClientSession] = {}
        self.max_logs: Final = max_logs
        self.open_logs = 0
        self.response_reader: Final = ResponseReader()

    def token(self) -> str:
        """Return the token of the console's own account; empty: it has none.

        Raises:
            OSError: its file cannot be read, and no earlier token is known.
        """
        return self._account.token()

    async def close(self) -> None:
        """Close every connection."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> Object:
        """Send one request, and return the object of its response.

        Raises:
            ApiServerError: the request was refused, or not answered within ten seconds.
            BusyError: too many large responses are being read.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type} if data else {}
        found, _ = await self._request(
            method, path, _unchanged, token=token, query=query, data=data, headers=headers
        )
        return found

    async def read(
        self,
        path: str,
        convert: Callable[[Object], T],
        *,
        token: str | None,
        query: Mapping[str, str] | None = None,
        max_weight: int | None = None,
    ) -> tuple[T, int]:
        """Send a GET; return the result of `convert` on its response, and the response's weight.

        Args:
            path: the URL path.
            convert: converts the response to what is kept of it; it may be called in a thread.
            token: the user's token; None: the console's own account.
            query: the query parameters.
            max_weight: the maximum weight of the response; None: it is a single object.

        Raises:
            AnswerTooLargeError: the response weighs more.
            ApiServerError: the request was refused, or not answered within ten seconds.
            BusyError: too many large responses are being read.
        """
        return await self._request(
            "GET", path, convert, token=token, query=query, max_weight=max_weight
        )

    async def _request(
        self,
        method: str,
        path: str,
        convert: Callable[[Object], T],
        *,
        token: str | None,
        query: Mapping[str, str] | None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        max_weight: int | None = None,
    ) -> tuple[T, int]:
        try:
            async with (
                StallTolerantTimeout(_CALL_S),
                self._session("own" if token is None else "user").request(
                    method,
                    self._account.server + path,
                    params=query,
                    data=data,
                    headers={**self._headers(token), **(headers or {})},
                    allow_redirects=False,
                ) as response,
            ):
                if not response.ok:
                    raise await _refusal(response)
                return await self.response_reader.read(response, convert, max_weight)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _connection_error(error) from error

    def watch(
        self, path: str, *, query: Mapping[str, str], idle_s: float
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Open a watch with the console's own account, on a connection that does not count towards `CALLS`.

        Args:
            path: the URL path.
            query: the query parameters.
            idle_s: seconds without data after which the watch is aborted.

        Raises:
            ApiServerError: the watch was refused or, within the context, the stream broke.
        """
        return self._stream("watch", path, token=None, query=query, idle_s=idle_s)

    @asynccontextmanager
    async def log(
        self, path: str, *, token: str | None, query: Mapping[str, str], idle_s: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open a log stream; with `follow` it ends when the container does.

        Args:
            path: the URL path.
            token: the user's token; None: the console's own account.
            query: the query parameters.
            idle_s: seconds without data after which the stream is aborted.

        Raises:
            ApiServerError: the request was refused or, within the context, the stream broke.
            BusyError: `max_logs` streams are open.
        """
        if self.open_logs >= self.max_logs:
            raise BusyError(
                f"{self.max_logs} logs are being read, which is the limit: try again",
                retry_after_s=5,
            )
        use: _Use = "own logs" if token is None else "user logs"
        self.open_logs += 1
        try:
            async with self._stream(
                use, path, token=token, query=query, idle_s=idle_s
            ) as response:
                yield response
        finally:
            self.open_logs -= 1

    @asynccontextmanager
    async def _stream(
        self,
        use: _Use,
        path: str,
        *,
        token: str | None,
        query: Mapping[str, str],
        idle_s: float,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=idle_s)
        try:
            async with self._session(use).get(
                self._account.server + path,
                params=query,
                headers=self._headers(token),
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                if response.status != 200:  # noqa: PLR2004 - anything else is not a stream
                    if response.ok:
                        raise ApiServerError("the API server does not send a stream")
                    raise await _refusal(response)
                try:
                    yield response
                finally:
                    # A TLS shutdown would wait for a server that is still sending.
                    if response.connection is not None and response.connection.transport:
                        response.connection.transport.abort()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _connection_error(error) from error

    def _headers(self, token: str | None) -> dict[str, str]:
        shown = self._account.token() if token is None else token
        return {"Authorization": f"Bearer {shown}"} if shown else {}

    def _session(self, use: _Use) -> aiohttp.ClientSession:
        if use not in self._sessions:
            of_user = use in ("user", "user logs")
            self._sessions[use] = aiohttp.ClientSession(
                headers={
                    "Accept": "application/json",
                    # A small compressed body can expand to many MiB before its size is checked.
                    "Accept-Encoding": "identity",
                    "User-Agent": "trainingjob-console",
                },
                connector=aiohttp.TCPConnector(
                    socket_factory=_socket,
                    ssl=self._account.tls(with_certificate=not of_user) or True,
                    # Logs have a limit of their own (`max_logs`). Watches must not wait for one another:
                    # there is one for each configured namespace.
                    limit=CALLS if use in ("own", "user") else 0,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                # `_request` has the deadline of calls.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
            )
        return self._sessions[use]


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Return a socket with TCP keep-alive: a dead connection fails within a minute."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):  # not every operating system has each option
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


def _unchanged(answer: Object) -> Object:
    return answer


async def _refusal(response: aiohttp.ClientResponse) -> ApiServerError:
    body = bytearray()
    while len(body) < _MAX_REFUSAL and (piece := await response.content.readany()):
        body += piece
    try:
        answer = json.loads(body)
    except ValueError:
        answer = {"message": body[:_MAX_MESSAGE].decode("utf-8", "replace")}
    if not isinstance(answer, dict):
        answer = {}
    message = answer.get("message")
    return ApiServerError(
        str(message)[:_MAX_MESSAGE] if message else f"the API server answers {response.status}",
        status=response.status if response.status >= 400 else 502,  # noqa: PLR2004 - no error
        reason=str(answer.get("reason") or "Unknown")[:64],
    )


def _connection_error(error: Exception) -> ApiServerError:
    words = str(error) or type(error).__name__
    return ApiServerError("the API server does not answer", detail=words[:_MAX_MESSAGE])
