"""The console's own account: of the pod that it runs in, or of a kubeconfig."""

import ssl
from pathlib import Path
from typing import Final

from trainingjob_console.errors import SettingsError
from trainingjob_web.kubeconfig import Credentials, KubeconfigError, load_kubeconfig

_MOUNTED: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SERVER: Final = "https://kubernetes.default.svc"
_MAX_TOKEN_BYTES: Final = 64 * 1024


class Account:
    """The place of the API server, and how the console is let in.

    Attributes:
        server: its URL, without a trailing slash.
    """

    def __init__(self, kubeconfig: Path | None, *, mounted: Path = _MOUNTED) -> None:
        """Read the kubeconfig, or without one what Kubernetes mounts into the pod.

        Raises:
            SettingsError: neither can be used; the message says why.
        """
        self._token_file: Path | None = None
        try:
            if kubeconfig is not None:
                self._credentials = load_kubeconfig(kubeconfig)
            else:
                self._token_file = mounted / "token"
                ca = (mounted / "ca.crt").read_bytes()
                self._credentials = Credentials(server=_SERVER, ca=ca)
            self.server: Final = self._credentials.server
            self._token = self._credentials.token
            self.token()
        except KubeconfigError as error:
            raise SettingsError(f"TRAININGJOB_CONSOLE_KUBECONFIG: {error}") from error
        except OSError as error:
            raise SettingsError(
                f"cannot read {error.filename}: {error.strerror}; outside a pod name a kubeconfig "
                "in TRAININGJOB_CONSOLE_KUBECONFIG"
            ) from error

    def token(self) -> str:
        """Return the token of this moment: the kubelet renews the pod's; empty: there is none.

        Raises:
            OSError: it cannot be read, and never could.
        """
        if self._token_file is None:
            return self._token
        try:
            with self._token_file.open("rb") as file:
                self._token = file.read(_MAX_TOKEN_BYTES).decode("ascii", "ignore").strip()
        except OSError:
            # While the kubelet replaces it, the one that was read last is good for minutes yet.
            if not self._token:
                raise
        return self._token

    def tls(self, *, with_certificate: bool) -> ssl.SSLContext | None:
        """Return the TLS context; None: plain HTTP.

        Args:
            with_certificate: show the account's client certificate, if it has one. With it the API
                server would take a user's call for the console's own, whatever its token.
        """
        credentials = self._credentials
        if not with_certificate:
            credentials = Credentials(
                server=credentials.server, ca=credentials.ca, verify=credentials.verify
            )
        return credentials.ssl_context()
