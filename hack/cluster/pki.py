"""Creates the certificates of one control plane, and kubeconfigs with them.

They are created for each cluster, exist as long as its directory, and are trusted by nothing else.
"""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme
import yaml

SERVICE_ADDRESS: Final = "10.0.0.1"
"""The Service address of the API server: the first one of the service range."""


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """The certificate authority of one cluster, in one directory."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True)
        self._folder: Final = folder
        self._ca: Final = trustme.CA(organization_name="trainingjob-operator test cluster")
        self.certificate: Final = folder / "ca.crt"
        self._ca.cert_pem.write_to_path(self.certificate)

    def server(self, name: str, *also: str) -> Certificate:
        """Issue a server certificate for this machine, and for these names and addresses."""
        return self._write(name, self._ca.issue_cert("localhost", "127.0.0.1", *also))

    def client(self, name: str, *, group: str | None = None) -> Certificate:
        """Issue a client certificate: its CN is the user, its O the group."""
        leaf = self._ca.issue_cert(
            f"{name.replace(':', '-')}.invalid", common_name=name, organization_name=group
        )
        return self._write(name.replace(":", "-"), leaf)

    def kubeconfig(self, path: Path, server: str, user: Certificate) -> Path:
        """Write a kubeconfig for this user, readable only by its owner."""
        return self._kubeconfig(
            path,
            server,
            {
                "client-certificate-data": _encoded(user.certificate),
                "client-key-data": _encoded(user.key),
            },
        )

    def token_kubeconfig(
        self, path: Path, server: str, token: str, *, namespace: str = "default"
    ) -> Path:
        """Write a kubeconfig with this bearer token and a default namespace."""
        return self._kubeconfig(path, server, {"token": token}, namespace=namespace)

    def _kubeconfig(
        self, path: Path, server: str, user: dict[str, str], *, namespace: str = "default"
    ) -> Path:
        cluster = {"server": server, "certificate-authority-data": _encoded(self.certificate)}
        context = {"cluster": "test", "user": "test", "namespace": namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": context}],
            "current-context": "test",
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))
        return path

    def _write(self, name: str, leaf: trustme.LeafCert) -> Certificate:
        files = Certificate(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        files.key.touch(mode=0o600)
        leaf.private_key_pem.write_to_path(files.key)
        for pem in leaf.cert_chain_pems:
            pem.write_to_path(files.certificate, append=files.certificate.exists())
        return files


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
