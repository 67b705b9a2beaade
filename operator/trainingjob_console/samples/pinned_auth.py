"""What the console shows to operators whose metrics ask for a right, and how it knows them.

Its own token goes to no other server: one that does not show the operators' very certificate, and so
does not have its key, is sent nothing.
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
    """The console's token, for servers with one certificate."""

    def __init__(self, certificate: Path, token: Callable[[], str]) -> None:
        """Read nothing yet.

        Args:
            certificate: a file whose first certificate is the operators'. It is read for each question, as
                it is replaced now and then.
            token: returns the console's own; raises OSError.
        """
        self._certificate: Final = certificate
        self._token: Final = token

    def arguments(self) -> dict[str, Any]:
        """Return what a request needs; no name is compared, as operators are asked by their addresses.

        Raises:
            OSError: the certificate or the token cannot be read.
            ValueError: the file has no certificate.
        """
        with self._certificate.open("rb") as file:
            text = file.read(_MAX_BYTES).decode("ascii", "ignore")
        first, found, _ = text.partition(_END)
        if not found:
            raise ValueError("there is no certificate")
        der = ssl.PEM_cert_to_DER_cert(first[max(first.find("-----BEGIN"), 0) :] + found)
        token = self._token()
        return {
            "ssl": aiohttp.Fingerprint(hashlib.sha256(der).digest()),
            "headers": {"Authorization": f"Bearer {token}"} if token else {},
        }
