"""Finds the API server and the credentials: from a kubeconfig, or the pod's service account."""

import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from kubernetes.aio import config as kubeconfig
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from trainingjob_api.errors import SettingsError, UnavailableError
from trainingjob_operator.core.message_text import truncate
from trainingjob_operator.kube.write_fencing import FencedConnector, MayWrite

_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_MAX_ERROR_BYTES: Final = 300


@dataclass(frozen=True, slots=True)
class Connection:
    """The address of the API server and our credentials.

    Attributes:
        configuration: the official client's configuration.
        namespace: the service account's, else that of the kubeconfig's context, else `default`.
    """

    configuration: Configuration
    namespace: str

    @property
    def server(self) -> str:
        """The API server's address."""
        return str(self.configuration.host)

    async def open_session(
        self, *traces: aiohttp.TraceConfig, may_write: MayWrite | None = None
    ) -> aiohttp.ClientSession:
        """Open an HTTP session for a library that sends its own requests; the caller closes it.

        The session keeps the current token. When the API server rejects that token, open another
        session.

        Args:
            traces: aiohttp traces that observe the requests.
            may_write: see `kube.write_fencing`; None: every write is sent.
        """
        return self.new_session(
            self.new_ssl_context(),
            may_write=may_write,
            headers=await self.authorization(),
            trace_configs=list(traces),
        )

    @property
    def tls_server_name(self) -> str | None:
        """The host name in the server's certificate, if it differs from the address."""
        return self.configuration.tls_server_name or None

    def new_ssl_context(self) -> ssl.SSLContext:
        """Build the TLS context. Reading the CA certificates takes a while."""
        context: ssl.SSLContext = RESTClientObject(self.configuration).ssl_context
        return context

    def new_session(
        self,
        ssl_context: ssl.SSLContext,
        *,
        connections: int = 0,
        may_write: MayWrite | None = None,
        **options: Any,
    ) -> aiohttp.ClientSession:
        """Return an HTTP session without a token; the caller closes it.

        Args:
            ssl_context: the TLS context.
            connections: limit of open connections; 0: no limit.
            may_write: see `kube.write_fencing`; None: every write is sent.
            options: further arguments of `aiohttp.ClientSession`.
        """
        connector = (
            aiohttp.TCPConnector(limit=connections, ssl=ssl_context)
            if may_write is None
            else FencedConnector(may_write, limit=connections, ssl_context=ssl_context)
        )
        return aiohttp.ClientSession(
            connector=connector,
            proxy=self.configuration.proxy or None,
            **options,
        )

    async def authorization(self) -> dict[str, str]:
        """Return the Authorization header, with the token file re-read when due; {}: no token.

        Raises:
            UnavailableError: the file is empty or not text: it is being replaced, or is broken.
            OSError: the file cannot be read.
        """
        try:
            header = await self.configuration.get_api_key_with_prefix("BearerToken")
        except (kubeconfig.ConfigException, ValueError) as error:
            raise UnavailableError(
                f"the token of the service account cannot be read: {_brief(error)}", reason="Token"
            ) from error
        return {"Authorization": f"Bearer {header.split(' ', 1)[-1]}"} if header else {}


async def connect(kubeconfig_path: str | None = None, context: str | None = None) -> Connection:
    """Find the API server as kubectl does: named kubeconfig, default kubeconfig, service account.

    Raises:
        SettingsError: none of them exists, or the one found cannot be read.
    """
    configuration = Configuration()
    path = Path(kubeconfig_path) if kubeconfig_path else Path.home() / ".kube" / "config"
    try:
        if kubeconfig_path or context or path.exists():
            loader = await kubeconfig.load_kube_config(
                config_file=str(path), context=context, client_configuration=configuration
            )
            namespace = _context_namespace(loader.current_context)
        else:
            kubeconfig.load_incluster_config(client_configuration=configuration)
            namespace = (_SERVICE_ACCOUNT / "namespace").read_text().strip()
        RESTClientObject(configuration)  # reads the certificates, as every client will
    except (kubeconfig.ConfigException, OSError) as error:
        raise SettingsError(
            f"cannot find the Kubernetes API server ({_brief(error)}); name a kubeconfig with "
            "--kubeconfig or KUBECONFIG, or run in a pod with a service account"
        ) from error
    except Exception as error:
        # The client's loader does not validate the file: a fault in it can raise any exception.
        raise SettingsError(
            f"{path} cannot be understood ({_brief(error)}); try `kubectl --kubeconfig {path} "
            "version`, and name another one with --kubeconfig or KUBECONFIG"
        ) from error
    configuration.proxy = configuration.proxy or _proxy_from_environment(str(configuration.host))
    return Connection(configuration, namespace or "default")


def _proxy_from_environment(server: str) -> str | None:
    """Return the proxy for this server by HTTPS_PROXY, NO_PROXY and the like, as kubectl does."""
    url = urlsplit(server)
    if not url.hostname or urllib.request.proxy_bypass(url.hostname):
        return None
    return urllib.request.getproxies().get(url.scheme)


def _brief(error: Exception) -> str:
    return truncate(" ".join(str(error).split()) or type(error).__name__, _MAX_ERROR_BYTES)


def _context_namespace(context: dict[str, Any]) -> str:
    return str((context.get("context") or {}).get("namespace") or "")
