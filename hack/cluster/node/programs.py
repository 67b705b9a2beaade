"""Builds kube-proxy and CoreDNS from Go modules, once for each machine, for a real node.

They have a go.mod of their own, because CoreDNS needs other versions of Kubernetes' dependencies.
"""

import hashlib
from pathlib import Path
from typing import Final

from hack.cache import find_made, made_once
from hack.cluster.assets import go, go_build, kubernetes_version, machine, pinned_version, say

HERE: Final = Path(__file__).parent / "network"
NAMES: Final = ("kube-proxy", "coredns")


def coredns_version() -> str:
    """Return the version that go.mod pins: `1.15.0`."""
    return pinned_version(HERE / "go.mod", "github.com/coredns/coredns")


def find_network() -> Path | None:
    """Return the directory with both programs, or None, without building anything."""
    return find_made(_name())


def build_network() -> Path:
    """Return the directory with both programs, built if needed.

    Raises:
        AssetsError: there is no Go to build with, or the build failed.
    """
    return find_network() or made_once(_name(), _make, say)


def _name() -> str:
    content = hashlib.sha256()
    for name in ("main.go", "go.mod", "go.sum"):
        content.update((HERE / name).read_bytes())
    return f"network-{kubernetes_version()}-{machine()}-{content.hexdigest()[:12]}"


def _make(folder: Path) -> None:
    version = kubernetes_version()
    say(f"building kube-proxy {version} and CoreDNS {coredns_version()}, once: some minutes")
    go_build(go(), HERE, "-ldflags", "-s -w", "-o", str(folder / "network"), ".")
    for name in NAMES:
        (folder / name).symlink_to("network")
