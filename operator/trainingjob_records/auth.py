"""Authenticates requests with bearer tokens from a file that is reloaded when it changes."""

import hmac
import logging
import os
from pathlib import Path
from typing import Final

from trainingjob_records.errors import (
    ForbiddenHostError,
    ReadOnlyTokenError,
    SettingsError,
    UnauthorizedError,
)
from trainingjob_records.settings import PREFIX, Settings
from trainingjob_web.listener import is_loopback

_MAX_FILE_BYTES: Final = 64 * 1024
_REALM: Final = 'Bearer realm="trainingjob-records"'
_logger = logging.getLogger(__name__)

Signature = tuple[int, int, int]


class TokenFile:
    """The tokens of a file, one a line, so that an old and a new token can be valid together.

    The file is checked at every request and read again if it has changed. While it cannot be read,
    the tokens read last stay valid: while a Secret is being replaced, the service must neither
    accept everybody nor refuse everybody.
    """

    def __init__(self, path: Path, variable: str) -> None:
        """Read the file.

        Args:
            path: path of the file.
            variable: environment variable that names the file, for the error message.

        Raises:
            SettingsError: the file cannot be read, or holds no token.
        """
        self._path: Final = path
        self._signature: Signature | None = None
        try:
            self._signature, self._tokens = self._read()
        except (OSError, ValueError) as error:
            raise SettingsError(f"{variable}: {_why(error)}") from error

    def knows(self, token: str) -> bool:
        """Return True if this is one of the tokens. All are compared, so the time reveals nothing."""
        self._refresh()
        offered = token.encode("utf-8", "surrogateescape")
        matches = [hmac.compare_digest(offered, known) for known in self._tokens]
        return any(matches)

    def _refresh(self) -> None:
        try:
            stat = self._path.stat()
            if (stat.st_mtime_ns, stat.st_ino, stat.st_size) != self._signature:
                self._signature, self._tokens = self._read()
                _logger.info("%s has changed; its tokens are valid now", self._path)
        except (OSError, ValueError) as error:
            if self._signature is not None:
                _logger.warning("the tokens read last stay valid: %s", _why(error))
            self._signature = None

    def _read(self) -> tuple[Signature, tuple[bytes, ...]]:
        with self._path.open("rb") as file:
            stat = os.fstat(file.fileno())
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise ValueError(f"{self._path} is larger than {_MAX_FILE_BYTES} bytes")
        tokens = tuple(line.strip() for line in content.splitlines() if line.strip())
        if not tokens:
            raise ValueError(f"{self._path} holds no token")
        return (stat.st_mtime_ns, stat.st_ino, stat.st_size), tokens


class Gate:
    """Authorizes a request by its bearer token."""

    def __init__(self, settings: Settings) -> None:
        """Read the tokens.

        Raises:
            SettingsError: a token file is named and cannot be read.
        """
        self._tokens: Final = _tokens(settings.token_file, f"{PREFIX}TOKEN_FILE")
        self._readers: Final = _tokens(settings.read_token_file, f"{PREFIX}READ_TOKEN_FILE")
        self._any_host: Final = settings.anonymous

    def check(self, *, authorization: str | None, host: str | None, reads: bool) -> None:
        """Return without an error if the request is authorized.

        Args:
            authorization: the Authorization header.
            host: the Host header.
            reads: True if the request only reads.

        Raises:
            UnauthorizedError: a token is required, and it is missing or not known.
            ReadOnlyTokenError: the token may only read, and the request writes.
            ForbiddenHostError: no token is required on this machine, but the Host header does not
                name it: a web page of another site requests records by DNS rebinding.
        """
        if self._tokens is None:
            name = (host or "").rsplit(":", 1)[0] if not (host or "").endswith("]") else host or ""
            if not self._any_host and not is_loopback(name.strip("[]")):
                raise ForbiddenHostError("without a token only localhost is served")
            return
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise UnauthorizedError("a bearer token is required", challenge=_REALM)
        if self._tokens.knows(token.strip()):
            return
        if self._readers is None or not self._readers.knows(token.strip()):
            raise UnauthorizedError(
                "the bearer token is not known", challenge=f'{_REALM}, error="invalid_token"'
            )
        if not reads:
            raise ReadOnlyTokenError("this token may only read records, not store them")


def _tokens(path: Path | None, variable: str) -> TokenFile | None:
    return TokenFile(path, variable) if path else None


def _why(error: OSError | ValueError) -> str:
    return (
        f"cannot read {error.filename}: {error.strerror}"
        if isinstance(error, OSError)
        else str(error)
    )
