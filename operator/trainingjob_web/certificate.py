"""Loads a TLS certificate and its key, and reloads them when their files are replaced."""

import logging
import ssl
from pathlib import Path
from typing import Final

_logger = logging.getLogger(__name__)

Signature = tuple[tuple[int, int, int], ...]


class CertificateError(Exception):
    """The files cannot be read, or the key does not match. The message names the files."""


class Certificate:
    """A certificate and its key, as files of a mounted Secret.

    For each connection the files are checked, and reloaded if they have changed. While they cannot
    be read, the certificate that was loaded last is used.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """Read the files.

        Raises:
            CertificateError: the files cannot be used.
        """
        self._files: Final = (certificate, key)
        try:
            self._signature = self._file_signature()
            self._context = self._read()
        except (OSError, ssl.SSLError) as error:
            raise CertificateError(f"cannot use {certificate} and {key}: {error}") from error

    def context(self) -> ssl.SSLContext:
        """Return the TLS context for a new connection."""
        signature = self._file_signature()
        if signature != self._signature:
            self._signature = signature  # unreadable files are tried, and logged, only once
            try:
                self._context = self._read()
            except (OSError, ssl.SSLError) as error:
                _logger.warning(
                    "cannot reload the certificate; the old one stays in use: %s", error
                )
            else:
                _logger.info("the certificate in %s has changed", self._files[0])
        return self._context

    def _file_signature(self) -> Signature:
        try:
            found = [path.stat() for path in self._files]
        except OSError:
            return ()
        return tuple((each.st_mtime_ns, each.st_ino, each.st_size) for each in found)

    def _read(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self._files)
        return context
