"""Runs another project's operator beside a control plane, with its webhooks and a service account of its own.

It runs as in its own manifests, except for what must differ on one machine without pods: its addresses,
and its certificate, which is created here instead of being mounted from a Secret. Its client has the request
limits of the tuned Job controller.
"""

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import yaml

from hack.bench import definitions
from hack.bench.access import Object
from hack.bench.account import kubeconfig_of
from hack.bench.contestants import Operator
from hack.bench.endpoints import ready
from hack.cluster.assets import AssetsError
from hack.cluster.control_plane import ControlPlane
from hack.cluster.other_operators import CONFIG, CRDS, PROGRAM, WEBHOOKS, find_operator
from hack.ports import free_port

_SERVING: Final = Path("k8s-webhook-server") / "serving-certs"
"""Path at which both look for the certificate, below the temporary directory."""

_CERTIFICATES: Final[dict[Operator, str]] = {
    "jobset": "internalCertManagement",
    "trainer": "certManagement",
}
_ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"


@contextmanager
def other_operator(plane: ControlPlane, name: Operator) -> Iterator[int]:
    """Run it; yield its process id once it is ready.

    Raises:
        AssetsError: it has not been built.
    """
    made = built(name)
    definitions.install(plane, [made / CRDS])
    folder = plane.root / name
    _write_certificate(plane, name, folder)
    webhooks, health = free_port(), f"127.0.0.1:{free_port()}"
    _register(plane, made / WEBHOOKS, webhooks)
    shipped = yaml.safe_load((made / CONFIG).read_text())
    config = folder / CONFIG
    config.write_text(yaml.safe_dump(configured(name, shipped, webhooks=webhooks, health=health)))
    command: list[str | Path] = [
        "env",
        f"KUBECONFIG={kubeconfig_of(plane, name)}",
        f"TMPDIR={folder}",
        made / PROGRAM,
        f"--config={config}",
        "--zap-log-level=2",  # as its manifests have it
    ]
    with ready(command, plane.root / f"{name}.log", health) as pid:
        yield pid


def built(name: Operator) -> Path:
    """Return the directory with its program and files.

    Raises:
        AssetsError: there is none. The message says how to build it.
    """
    if (made := find_operator(name)) is None:
        raise AssetsError(
            f"{name} has not been built on this machine: `make bench-build` does it, once"
        )
    return made


def configured(name: Operator, shipped: Object, *, webhooks: int, health: str) -> Object:
    """Return a controller's configuration for the benchmark, derived from the shipped one.

    Args:
        name: of the operator.
        shipped: the shipped configuration.
        webhooks: the port on which the API server calls it.
        health: `host:port` of its probes.
    """
    return shipped | {
        "health": shipped.get("health", {}) | {"healthProbeBindAddress": health},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": webhooks},
        # Outside a pod it does not know its namespace.
        "leaderElection": shipped["leaderElection"] | {"resourceNamespace": "default"},
        _CERTIFICATES[name]: {"enable": False},
        "clientConnection": {"qps": 2000, "burst": 4000},
    }


def reached_at(document: Object, port: int, authority: bytes) -> Object:
    """Return a webhook configuration whose webhooks are called by URL on this machine, not by Service.

    Args:
        document: a Validating- or MutatingWebhookConfiguration; it is not changed.
        port: where they listen.
        authority: the CA certificate of the webhooks, as PEM.
    """
    bundle = base64.b64encode(authority).decode()
    found = []
    for webhook in document["webhooks"]:
        url = f"https://127.0.0.1:{port}{webhook['clientConfig']['service']['path']}"
        found.append(webhook | {"clientConfig": {"url": url, "caBundle": bundle}})
    return document | {"webhooks": found}


def _register(plane: ControlPlane, file: Path, port: int) -> None:
    authority = plane.authority.certificate.read_bytes()
    for document in yaml.safe_load_all(file.read_text()):
        if "webhooks" in document:  # and not the Service
            path = f"{_ADMISSION}/{document['kind'].lower()}s"
            plane.request(path, reached_at(document, port, authority))


def _write_certificate(plane: ControlPlane, name: Operator, folder: Path) -> None:
    serving = folder / _SERVING
    serving.mkdir(parents=True)
    pair = plane.authority.server(f"{name}-webhooks")
    os.link(pair.certificate, serving / "tls.crt")
    os.link(pair.key, serving / "tls.key")
