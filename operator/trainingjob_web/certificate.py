"""A certificate with its key, in files that are replaced while the process runs."""

import logging
import ssl
from pathlib import Path
from typing import Final

_logger = logging.getLogger(__name__)

Signature = tuple[tuple[int, int, int], ...]


class CertificateError(Exception):
    """The files cannot be read, or do not belong together. The message names them."""


class Certificate:
    """A certificate and its key, as files of a mounted Secret.

    They are looked at for each connection, and read when they have changed. While they cannot be
    read, those read last stay.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """Read the files.

        Raises:
            CertificateError: they cannot be used.
        """
        self._files: Final = (certificate, key)
        try:
            self._signature = self._signed()
            self._context = self._read()
        except (OSError, ssl.SSLError) as error:
            raise CertificateError(f"cannot use {certificate} and {key}: {error}") from error

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection."""
        signature = self._signed()
        if signature != self._signature:
            self._signature = signature  # what cannot be read is tried, and said, once
            try:
                self._context = self._read()
            except (OSError, ssl.SSLError) as error:
                _logger.warning("the certificate read last stays: %s", error)
            else:
                _logger.info("the certificate in %s has changed", self._files[0])
        return self._context

    def _signed(self) -> Signature:
        try:
            found = [path.stat() for path in self._files]
        except OSError:
            return ()
        return tuple((each.st_mtime_ns, each.st_ino, each.st_size) for each in found)

    def _read(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self._files)
        return context
