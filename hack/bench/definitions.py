"""Installs the CRDs that a contestant needs, and waits until they are served."""

import time
import urllib.error
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import yaml

from hack.bench.access import Object
from hack.cluster.control_plane import ControlPlane

OURS: Final = Path(__file__).parents[2] / "manifests" / "crds"
_PATIENCE_S: Final = 30.0


def install(plane: ControlPlane, files: Iterable[Path]) -> None:
    """Create each CRD in these files, and wait until it is served.

    Raises:
        TimeoutError: one is not.
    """
    for file in files:
        for crd in yaml.safe_load_all(file.read_text()):
            plane.request("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
            _wait_until_served(plane, crd)


def _wait_until_served(plane: ControlPlane, crd: Object) -> None:
    version = next(v["name"] for v in crd["spec"]["versions"] if v["served"])
    path = f"/apis/{crd['spec']['group']}/{version}/{crd['spec']['names']['plural']}"
    deadline = time.monotonic() + _PATIENCE_S
    while not _is_served(plane, path):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} is not served after {_PATIENCE_S:.0f} s")
        time.sleep(0.1)


def _is_served(plane: ControlPlane, path: str) -> bool:
    try:
        plane.request(path)
    except urllib.error.HTTPError:
        return False
    return True
