"""Runs containerd for one node, with its own state beside this machine's containerd."""

import contextlib
import json
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Final

from hack.cluster.node.shell import NodeError, run
from hack.cluster.process import Program

PAUSE_IMAGE: Final = "localhost/trainingjob-pause:1"
"""The pause image, which holds the network namespace of each pod and only sleeps."""

PLUGINS: Final = "/usr/lib/cni"
_NAMESPACE: Final = "k8s.io"
_PATIENCE_S: Final = 90.0


class Containerd:
    """A running containerd; `socket` is where the kubelet finds it."""

    def __init__(self, state: Path, *, bridge: str, network: IPv4Interface) -> None:
        """Start it.

        Args:
            state: its folder.
            bridge: the bridge that pods are connected to.
            network: the range of the pods' addresses.

        Raises:
            NodeError: it is not installed.
            StartError: it does not become ready.
        """
        self._state: Final = state
        self.socket: Final = state / "containerd.sock"
        (state / "cni").mkdir(parents=True, exist_ok=True)
        (state / "cni" / "10-bridge.conflist").write_text(_network_list(state, bridge, network))
        config = state / "containerd.toml"
        config.write_text(_config(state))
        run("containerd", "--version")  # says what to install, where it is missing
        self._program: Final = Program(
            ["containerd", "--config", config], state / "containerd.log"
        )
        self._program.wait_until(self._answers, patience_s=_PATIENCE_S)

    def import_images(self, archive: Path) -> None:
        """Import an archive of `podman save`."""
        self.ctr("images", "import", "--all-platforms", archive)

    def tag(self, image: str, *names: str) -> None:
        """Give an image further names."""
        self.ctr("images", "tag", image, *names)

    def kill(self, container: str) -> None:
        """Send SIGKILL to the first process of a container; the kubelet starts another one."""
        self.ctr("tasks", "kill", "--signal", "SIGKILL", container)

    def stop(self) -> None:
        """Stop every container, then containerd itself, which would not stop them."""
        for task in self.ctr("tasks", "list", "--quiet").split():
            _gladly(self, "tasks", "kill", "--signal", "SIGKILL", task)
        for container in self.ctr("containers", "list", "--quiet").split():
            _gladly(self, "tasks", "delete", "--force", container)
            _gladly(self, "containers", "delete", container)
        self._program.stop()

    def ctr(self, *arguments: str | Path) -> str:
        """Run `ctr` on it; return what that prints.

        Raises:
            NodeError: it failed.
        """
        return run("ctr", "--address", self.socket, "--namespace", _NAMESPACE, *arguments)

    def _answers(self) -> bool:
        try:
            self.ctr("version")
        except NodeError:
            return False
        return True


def _gladly(containerd: Containerd, *arguments: str) -> None:
    with contextlib.suppress(NodeError):  # it has ended by itself
        containerd.ctr(*arguments)


def _config(state: Path) -> str:
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""\
version = 2
root = "{state}/root"
state = "{state}/run"
oom_score = 0
[grpc]
  address = "{state}/containerd.sock"
[{cri}]
  restrict_oom_score_adj = true
  sandbox_image = "{PAUSE_IMAGE}"
  netns_mounts_under_state_dir = true
  [{cri}.containerd]
    snapshotter = "overlayfs"
    [{cri}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [{cri}.cni]
    bin_dir = "{PLUGINS}"
    conf_dir = "{state}/cni"
"""


def _network_list(state: Path, bridge: str, network: IPv4Interface) -> str:
    addresses = {
        "type": "host-local",
        "dataDir": str(state / "addresses"),
        "ranges": [[{"subnet": str(network.network)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugin = {
        "type": "bridge",
        "bridge": bridge,
        "isGateway": True,
        "hairpinMode": True,  # a pod reaches itself through its Service
        "ipMasq": False,
        "ipam": addresses,
    }
    return json.dumps({"cniVersion": "0.4.0", "name": "trainingjob", "plugins": [plugin]})
