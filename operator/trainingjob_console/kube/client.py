"""Calls of the API server: a deadline and a limit of bytes on each, and every failure in one form."""

import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Literal, TypeVar

import aiohttp

from trainingjob_console.errors import ApiServerError, BusyError
from trainingjob_console.kube.credentials import Account
from trainingjob_console.kube.response_reader import Object, ResponseReader

T = TypeVar("T")

CALLS: Final = 64
"""Calls at once in the names of users, and likewise in the console's own; a further one waits, within
its deadline."""

MAX_LOGS: Final = 320
"""Answers that are logs, open at once."""

_CALL_S: Final = 10.0
_CONNECT_S: Final = 5.0
_MAX_REFUSAL: Final = 64 * 1024
_MAX_MESSAGE: Final = 1000

_KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""A connection that is silent for 30 s is asked for a sign of life, three times in 30 s. A log may be
silent for an hour; without this its reader would not learn that the way to it has gone."""

_Use = Literal["own", "user", "own logs", "user logs", "watch"]


class Kube:
    """The API server, asked as a user or as the console itself. Open and close it in one event loop.

    `token=None` is the console's own account everywhere here; any text is a user's token, which
    goes on connections that show no certificate of the console's.

    Attributes:
        bodies: reads the answers, but for logs and watches.
    """

    def __init__(self, account: Account, *, max_logs: int = MAX_LOGS) -> None:
        """Prepare to connect.

        Args:
            account: where to, and the console's own credentials.
            max_logs: answers that are logs, open at once; watches do not count.
        """
        self._account: Final = account
        self._sessions: dict[_Use, aiohttp.ClientSession] = {}
        self.max_logs: Final = max_logs
        self.open_logs = 0
        self.response_reader: Final = ResponseReader()

    def token(self) -> str:
        """Return the token of the console's own account; empty: it has none.

        Raises:
            OSError: it cannot be read, and never could.
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
        """Return the answer to one call, which is one object.

        Raises:
            ApiServerError: it was refused, or not answered in ten seconds.
            BusyError: too many large answers are being read.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type} if data else {}
        found, _ = await self._ask(
            method, path, _whole, token=token, query=query, data=data, headers=headers
        )
        return found

    async def read(
        self,
        path: str,
        make: Callable[[Object], T],
        *,
        token: str | None,
        query: Mapping[str, str] | None = None,
        most: int | None = None,
    ) -> tuple[T, int]:
        """Return what is made of the answer to a GET, and what that weighed.

        Args:
            path: of the GET.
            make: makes of the answer what is kept of it; it may be called in a thread.
            token: the user's; None: the console's own account.
            query: its parameters.
            most: what the answer may weigh; None: it is one object.

        Raises:
            AnswerTooLargeError: it weighs more.
            ApiServerError: it was refused, or not answered in ten seconds.
            BusyError: too many large answers are being read.
        """
        return await self._ask("GET", path, make, token=token, query=query, most=most)

    async def _ask(
        self,
        method: str,
        path: str,
        make: Callable[[Object], T],
        *,
        token: str | None,
        query: Mapping[str, str] | None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        most: int | None = None,
    ) -> tuple[T, int]:
        try:
            async with self._session("own" if token is None else "user").request(
                method,
                self._account.server + path,
                params=query,
                data=data,
                headers={**self._headers(token), **(headers or {})},
                allow_redirects=False,
            ) as response:
                if not response.ok:
                    raise await _refusal(response)
                return await self.response_reader.read(response, make, most)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _unanswered(error) from error

    def watch(
        self, path: str, *, query: Mapping[str, str], idle_s: float
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Open a watch, as the console itself, on a connection that nothing else waits for.

        Args:
            path: of the GET.
            query: its parameters.
            idle_s: seconds without a byte after which it is broken off.

        Raises:
            ApiServerError: it was refused; within the context too, when it breaks off.
        """
        return self._stream("watch", path, token=None, query=query, idle_s=idle_s)

    @asynccontextmanager
    async def log(
        self, path: str, *, token: str | None, query: Mapping[str, str], idle_s: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open a log, which has no end yet if it is followed.

        Args:
            path: of the GET.
            token: the user's; None: the console's own account.
            query: its parameters.
            idle_s: seconds without a byte after which it is broken off.

        Raises:
            ApiServerError: it was refused; within the context too, when it breaks off.
            BusyError: `max_logs` are open.
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
                if response.status != 200:  # noqa: PLR2004 - anything else is no stream
                    if response.ok:
                        raise ApiServerError("the API server sends no stream")
                    raise await _refusal(response)
                try:
                    yield response
                finally:
                    # TLS's own good-bye would wait for a server that still sends.
                    if response.connection is not None and response.connection.transport:
                        response.connection.transport.abort()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unanswered(error) from error

    def _headers(self, token: str | None) -> dict[str, str]:
        shown = self._account.token() if token is None else token
        return {"Authorization": f"Bearer {shown}"} if shown else {}

    def _session(self, use: _Use) -> aiohttp.ClientSession:
        if use not in self._sessions:
            of_user = use in ("user", "user logs")
            self._sessions[use] = aiohttp.ClientSession(
                headers={
                    "Accept": "application/json",
                    # A few bytes of a compressed body can be many MiB, before anything counts them.
                    "Accept-Encoding": "identity",
                    "User-Agent": "trainingjob-console",
                },
                connector=aiohttp.TCPConnector(
                    socket_factory=_socket,
                    ssl=self._account.tls(with_certificate=not of_user) or True,
                    # Logs are counted as they are opened. Watches: one for each namespace of the
                    # settings, and never one less.
                    limit=CALLS if use in ("own", "user") else 0,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=_CALL_S, sock_connect=_CONNECT_S),
            )
        return self._sessions[use]


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Return a socket that breaks off within a minute where the other side is not there any more."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):  # not on every system that a laptop has
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


def _whole(answer: Object) -> Object:
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


def _unanswered(error: Exception) -> ApiServerError:
    words = str(error) or type(error).__name__
    return ApiServerError("the API server does not answer", detail=words[:_MAX_MESSAGE])
