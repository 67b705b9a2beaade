"""The console's own credentials: the pod's service account, or a kubeconfig."""

import ssl
from pathlib import Path
from typing import Final

from trainingjob_console.errors import SettingsError
from trainingjob_web.kubeconfig import Credentials, KubeconfigError, load_kubeconfig

_MOUNTED: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SERVER: Final = "https://kubernetes.default.svc"
_MAX_TOKEN_BYTES: Final = 64 * 1024


class Account:
    """The API server's URL, and the console's own credentials.

    Attributes:
        server: its URL, without a trailing slash.
    """

    def __init__(self, kubeconfig: Path | None, *, mounted: Path = _MOUNTED) -> None:
        """Read the kubeconfig, or without one the service account files that Kubernetes mounts into the pod.

        Raises:
            SettingsError: the credentials cannot be used; the message says why.
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
                f"cannot read {error.filename}: {error.strerror}; outside a pod set "
                "TRAININGJOB_CONSOLE_KUBECONFIG to the path of a kubeconfig"
            ) from error

    def token(self) -> str:
        """Return the current token, which the kubelet renews in a pod; empty: there is none.

        Raises:
            OSError: its file cannot be read, and no earlier token is known.
        """
        if self._token_file is None:
            return self._token
        try:
            with self._token_file.open("rb") as file:
                self._token = file.read(_MAX_TOKEN_BYTES).decode("ascii", "ignore").strip()
        except OSError:
            # The kubelet may be replacing the file; the last token is valid for some more minutes.
            if not self._token:
                raise
        return self._token

    def tls(self, *, with_certificate: bool) -> ssl.SSLContext | None:
        """Return the TLS context; None: plain HTTP.

        Args:
            with_certificate: present the account's client certificate, if it has one. Calls with a user's
                token must not: the API server would authenticate them as the console itself.
        """
        credentials = self._credentials
        if not with_certificate:
            credentials = Credentials(
                server=credentials.server, ca=credentials.ca, verify=credentials.verify
            )
        return credentials.ssl_context()
