"""Sends one record to the endpoint: a PUT with a timeout, whose response is classified. No retries.

It follows no redirects and no proxy variables, verifies TLS, and limits the bytes read of a
response: a wrong receiver must neither get our token nor fill our memory.
"""

import asyncio
import io
import json
import ssl
from pathlib import Path
from typing import Any, Final

import aiohttp

from trainingjob_api.errors import (
    EndpointUnauthorizedError,
    EndpointUnavailableError,
    RecordConflictError,
    RecordRejectedError,
    RecordTooLargeError,
    SettingsError,
)
from trainingjob_operator.core.message_text import one_line
from trainingjob_operator.core.record import encode_record, idempotency_key, without_spec
from trainingjob_operator.settings import PersistSettings

MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_RETRY_AFTER_S: Final = 300.0
_MAX_ECHO: Final = 200
_MAX_TOKEN_FILE_BYTES: Final = 64 * 1024
_MAX_TOKENS: Final = 4
_CONFLICT: Final = 409
_TOO_LARGE: Final = 413
_REJECTED: Final = frozenset({400, 415, 422})
_UNAUTHORIZED: Final = frozenset({401, 403})

Object = dict[str, Any]


class RecordWriter:
    """PUTs records to one endpoint."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        token_file: Path | None = None,
        ca_file: Path | None = None,
        connections: int = 8,
    ) -> None:
        """Prepare to write; nothing is sent yet.

        Args:
            url: the endpoint; the job's uid is appended as the last part of its path.
            timeout_s: total timeout of a write, from connecting to the end of the response.
            token_file: holds the bearer token, or several during a rotation, one on each line; it
                is read again for every write.
            ca_file: certificates to trust instead of the system's.
            connections: the most open connections.

        Raises:
            SettingsError: `ca_file` cannot be read.
        """
        self._url: Final = url.rstrip("/")
        self._timeout_s: Final = timeout_s
        self._token_file: Final = token_file
        self._ca_file: Final = ca_file
        self._connections: Final = connections
        self._session: aiohttp.ClientSession | None = None
        self._accepted = ""
        self._tls: Final = _tls(url, ca_file)

    def _open(self) -> aiohttp.ClientSession:
        """Return the session, created in the running event loop."""
        self._session = self._session or aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, ssl=self._tls),
            # Cookies would be unbounded state, and a compressed response can expand to any size.
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity", "User-Agent": "trainingjob-operator"},
            auto_decompress=False,
            trust_env=False,
        )
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def write(self, record: Object) -> None:
        """Store a record; it is stored when this returns.

        A record that is too large for the receiver is sent again without its spec. If the token
        file contains several tokens, they are tried in turn, the one that was accepted last first.
        During a rotation either side can therefore have the new token first.

        Raises:
            RecordRejectedError: the receiver rejects this record.
            RecordConflictError: it has other content under this revision.
            EndpointUnauthorizedError: it does not accept our token.
            EndpointUnavailableError: any other failure.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                try:
                    await self._send_with_tokens(record["uid"], record)
                except RecordTooLargeError:
                    if record.get("specOmitted"):
                        raise
                    await self._send_with_tokens(record["uid"], without_spec(record))
        except TimeoutError as error:
            raise EndpointUnavailableError(f"no answer within {self._timeout_s:g} s") from error

    async def read(self, uid: str) -> None:
        """Check with a GET that the endpoint has the record of a job.

        Raises:
            EndpointUnauthorizedError: it does not accept our token.
            EndpointUnavailableError: it does not have it, or any other failure.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._send_with_tokens(uid, None)
        except TimeoutError as error:
            raise EndpointUnavailableError(f"no answer within {self._timeout_s:g} s") from error

    async def _send_with_tokens(self, uid: str, record: Object | None) -> None:
        """PUT a record, or GET it if None, with each of our tokens until one is accepted."""
        if self._token_file is None:
            await self._send(uid, record, {})
            return
        tokens = _tokens(self._token_file)
        tokens.sort(key=lambda token: token != self._accepted)  # stable: else in the file's order
        for number, token in enumerate(tokens, 1):
            try:
                await self._send(uid, record, {"Authorization": f"Bearer {token}"})
            except EndpointUnauthorizedError:
                if number == len(tokens):
                    raise
            else:
                self._accepted = token
                return

    async def _send(self, uid: str, record: Object | None, headers: dict[str, str]) -> None:
        """PUT the record; None: GET it."""
        body = None
        if record is not None:
            body = encode_record(record)
            key = idempotency_key(record, body)
            headers = {"Content-Type": "application/json", "Idempotency-Key": key, **headers}
        try:
            async with self._open().request(
                "GET" if body is None else "PUT",
                f"{self._url}/{uid}",
                data=None if body is None else io.BytesIO(body),  # aiohttp warns of large bytes
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None),
            ) as answer:
                said = await _read(answer.content)
        except TimeoutError:
            raise  # the total timeout of the write
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Only the error's class: a client's message can contain the URL and secrets in it.
            raise EndpointUnavailableError(
                f"cannot be reached ({type(error).__name__})"
            ) from error
        _check_response(answer.status, answer.headers.get("Retry-After"), said, uid)


def writer_from(settings: PersistSettings, *, more_connections: int = 0) -> RecordWriter:
    """Return the writer for these settings, in which `url` is set.

    Raises:
        SettingsError: the file of certificates cannot be read.
    """
    return RecordWriter(
        settings.url,
        timeout_s=settings.timeout,
        token_file=settings.token_file,
        ca_file=settings.ca_file,
        connections=settings.concurrency + more_connections,
    )


def _tokens(path: Path) -> list[str]:
    """Return the first few tokens of a file with one token on each line.

    Raises:
        EndpointUnauthorizedError: it cannot be read, or contains none.
    """
    try:
        with path.open("rb") as file:
            lines = file.read(_MAX_TOKEN_FILE_BYTES).decode("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EndpointUnauthorizedError(f"cannot read the token from {path}") from error
    tokens = [line.strip() for line in lines if line.strip()]
    if not tokens or not all(token.isprintable() for token in tokens):
        raise EndpointUnauthorizedError(f"{path} contains no token; expected one on each line")
    return tokens[:_MAX_TOKENS]


def _tls(url: str, ca_file: Path | None) -> ssl.SSLContext | bool:
    if not url.startswith("https:"):
        return True
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"TRAININGJOB_PERSIST__CA_FILE: no certificates can be read from {ca_file}"
        ) from error


async def _read(content: aiohttp.StreamReader) -> bytes:
    """Return the response's body, cut off as soon as it is longer than the limit."""
    said = b""
    while len(said) <= MAX_ANSWER_BYTES and (chunk := await content.read(MAX_ANSWER_BYTES + 1)):
        said += chunk
    return said


def _check_response(status: int, retry_after: str | None, said: bytes, uid: str) -> None:
    """Return if the response means that the record is stored, else raise the matching error."""
    # The message contains the beginning of the response's body, made safe to print.
    what = f"HTTP {status}: {one_line(said[:_MAX_ECHO].decode('utf-8', 'replace'), _MAX_ECHO)}"
    if status in _UNAUTHORIZED:
        raise EndpointUnauthorizedError(f"HTTP {status}: the endpoint does not accept the token")
    if status == _CONFLICT:
        raise RecordConflictError(what)
    if status == _TOO_LARGE:
        raise RecordTooLargeError(what)
    if status in _REJECTED:
        raise RecordRejectedError(what)
    if not 200 <= status < 300:  # noqa: PLR2004 - HTTP's own numbers
        raise EndpointUnavailableError(what, retry_after_s=_seconds(retry_after))
    if _echoed_uid(said) != uid:
        raise EndpointUnavailableError(
            f"HTTP {status}, but no JSON that echoes the uid: is this a record endpoint?"
        )


def _echoed_uid(said: bytes) -> object:
    if len(said) > MAX_ANSWER_BYTES:
        return None
    try:
        answer = json.loads(said)
    except (ValueError, RecursionError):
        return None
    return answer.get("uid") if isinstance(answer, dict) else None


def _seconds(retry_after: str | None) -> float:
    try:
        asked = float(retry_after or 0)
    except ValueError:
        return 0.0
    return min(max(asked, 0.0), MAX_RETRY_AFTER_S) if asked == asked else 0.0  # noqa: PLR0124 - NaN
