"""Reads a kubeconfig: the API server's address, its CA, and the client's credentials.

Supports CA certificates, client certificates and tokens, inline or as files; no auth plugins.
"""

import base64
import binascii
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class KubeconfigError(Exception):
    """The kubeconfig cannot be used. The message says which part is missing or wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The server and the credentials of one context of a kubeconfig.

    Attributes:
        server: the API server's URL without a trailing slash.
        ca: PEM of the certificate authority; empty: the system's CA certificates.
        verify: True if the server's certificate is verified.
        certificate: PEM of the client certificate; empty: none.
        key: PEM of the client certificate's key.
        token: bearer token; empty: none.
    """

    server: str
    ca: bytes = b""
    verify: bool = True
    certificate: bytes = b""
    key: bytes = b""
    token: str = ""

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the TLS context; None for plain HTTP."""
        if not self.server.startswith("https://"):
            return None
        context = ssl.create_default_context(cadata=self.ca.decode() if self.ca else None)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate:
            # The ssl module can only load a client certificate from a file.
            with tempfile.NamedTemporaryFile() as pem:
                pem.write(self.certificate + b"\n" + self.key)
                pem.flush()
                context.load_cert_chain(pem.name)
        return context


def load_kubeconfig(path: Path, context: str | None = None) -> Credentials:
    """Read the named context, or the current one.

    Raises:
        KubeconfigError: the file is missing, is not a kubeconfig, or lacks an entry that the context
            names.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise KubeconfigError(f"cannot read the kubeconfig {path}: {error}") from error
    if not isinstance(config, dict):
        raise KubeconfigError(f"{path} is no kubeconfig")
    name = context or config.get("current-context")
    if not name:
        raise KubeconfigError(f"{path} has no current-context")
    chosen = _named(config, "contexts", name, path)["context"]
    cluster = _named(config, "clusters", chosen.get("cluster"), path)["cluster"]
    user: dict[str, Any] = {}
    if chosen.get("user"):
        user = _named(config, "users", chosen["user"], path).get("user") or {}
    if not cluster.get("server"):
        raise KubeconfigError(f"{path}: the cluster of context {name!r} has no server")
    return Credentials(
        server=str(cluster["server"]).rstrip("/"),
        ca=_content(cluster, "certificate-authority", path),
        verify=not cluster.get("insecure-skip-tls-verify", False),
        certificate=_content(user, "client-certificate", path),
        key=_content(user, "client-key", path),
        token=_token(user, path),
    )


def _named(config: dict[str, Any], section: str, name: str | None, path: Path) -> dict[str, Any]:
    for entry in config.get(section) or []:
        if isinstance(entry, dict) and entry.get("name") == name:
            # An entry of "contexts" has a "context", one of "clusters" a "cluster", and so on.
            entry.setdefault(section[:-1], {})
            return entry
    raise KubeconfigError(f"{path}: no {section[:-1]} is called {name!r}")


def _content(section: dict[str, Any], key: str, path: Path) -> bytes:
    """Return the content of `<key>-data`, or of the file in `<key>` (relative to the kubeconfig)."""
    try:
        if inline := section.get(f"{key}-data"):
            return base64.b64decode(inline, validate=True)
        if file := section.get(key):
            return Path(path.parent / str(file)).read_bytes()
    except (binascii.Error, ValueError, OSError) as error:
        raise KubeconfigError(f"{path}: {key}: {error}") from error
    return b""


def _token(user: dict[str, Any], path: Path) -> str:
    if token := user.get("token"):
        return str(token)
    return _content({"tokenFile": user.get("tokenFile")}, "tokenFile", path).decode().strip()
