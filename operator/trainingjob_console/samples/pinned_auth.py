"""Authenticates to operators whose metrics require authorization, with certificate pinning.

The console's own token is sent only to servers with the operators' certificate, and so with its private key.
"""

import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import aiohttp

_END: Final = "-----END CERTIFICATE-----"
_MAX_BYTES: Final = 64 * 1024


class PinnedAuth:
    """The console's token, for servers with one pinned certificate."""

    def __init__(self, certificate: Path, token: Callable[[], str]) -> None:
        """Initialize without reading files.

        Args:
            certificate: a file whose first certificate is that of the operators. It is read for each request, as the
                certificate is renewed from time to time.
            token: returns the console's own token; raises OSError.
        """
        self._certificate: Final = certificate
        self._token: Final = token

    def request_arguments(self) -> dict[str, Any]:
        """Return the arguments of an aiohttp request. Host names are not verified, as operators are scraped by address.

        Raises:
            OSError: the certificate or the token cannot be read.
            ValueError: the file has no certificate.
        """
        with self._certificate.open("rb") as file:
            text = file.read(_MAX_BYTES).decode("ascii", "ignore")
        first, found, _ = text.partition(_END)
        if not found:
            raise ValueError("the file has no certificate")
        der = ssl.PEM_cert_to_DER_cert(first[max(first.find("-----BEGIN"), 0) :] + found)
        token = self._token()
        return {
            "ssl": aiohttp.Fingerprint(hashlib.sha256(der).digest()),
            "headers": {"Authorization": f"Bearer {token}"} if token else {},
        }
