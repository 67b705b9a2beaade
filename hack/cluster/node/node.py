"""Runs a real Kubernetes with one real node on this machine: kubelet, containers, Services and DNS.

It needs root on Linux. Only one can run at a time, because it changes the machine's bridge, cgroups and
firewall rules. It removes and restores all of them at its end; the next run first removes what a killed
one has left.
"""

import contextlib
import fcntl
import shutil
import ssl
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import yaml

from hack.cluster.control_plane import ControlPlane, Options
from hack.cluster.node import config
from hack.cluster.node.bridge import ADDRESS, NAME, make_bridge
from hack.cluster.node.containerd import PAUSE_IMAGE, Containerd
from hack.cluster.node.images import PYTHON_IMAGE, TRAINER
from hack.cluster.node.others import refuse_beside_another_node
from hack.cluster.node.remains import remove_remains
from hack.cluster.node.shell import NodeError, run
from hack.cluster.pki import SERVICE_ADDRESS
from hack.cluster.process import Program

STATE: Final = Path("/var/lib/trainingjob-node")
"""The state directory, on a disk and not in memory: it has the images and the containers' files."""

_LOCK: Final = Path("/run/lock/trainingjob-node.lock")
_PROXY_CONFIG: Final = "proxy.yaml"
_PATIENCE_S: Final = 180.0


class RealNode:
    """A running cluster of one node, as a context manager. Enter it in the main thread.

    Attributes:
        plane: its control plane.
        containerd: its container runtime.
        volumes: a folder of the machine for PersistentVolumes of the tests.
    """

    plane: ControlPlane
    containerd: Containerd

    def __init__(self, assets: Path, network: Path, images: Path) -> None:
        """Prepare a cluster; nothing is started before it is entered.

        Args:
            assets: the folder with the programs of the control plane, and the kubelet.
            network: the folder with kube-proxy and CoreDNS.
            images: the archive with the operator's image and the trainer's (`save_images`).
        """
        self._assets: Final = assets
        self._network: Final = network
        self._images: Final = images
        self._programs: Final[dict[str, Program]] = {}
        self.volumes: Final = STATE / "volumes"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as ending:
            fcntl.flock(ending.enter_context(_LOCK.open("w")), fcntl.LOCK_EX)
            refuse_beside_another_node(STATE)
            ending.callback(_keep_only_logs)
            ending.callback(remove_remains, STATE)
            self._remove_rules()
            remove_remains(STATE)
            shutil.rmtree(STATE, ignore_errors=True)
            self.volumes.mkdir(parents=True)
            make_bridge(STATE)
            self._start(ending)
            self._ending = ending.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything and clean up; keep the logs of the programs."""
        self._ending.close()

    def stop_kubelet(self) -> None:
        """Stop only the kubelet: its containers keep running, and are not reported."""
        if (kubelet := self._programs.pop("kubelet", None)) is not None:
            kubelet.stop()

    def start_kubelet(self) -> None:
        """Start the kubelet."""
        self._programs["kubelet"] = Program(
            [
                self._assets / "kubelet",
                *("--config", STATE / "kubelet.yaml"),
                *("--kubeconfig", self._kubelet_kubeconfig),
                *("--hostname-override", config.NODE),
                *("--root-dir", STATE / "kubelet"),
                *("--node-ip", str(ADDRESS.ip)),
            ],
            STATE / "kubelet.log",
        )

    def kubectl(self, *arguments: str | Path) -> str:
        """Run kubectl as the administrator.

        Raises:
            NodeError: it failed.
        """
        program = self._assets / "kubectl"
        return run(program, "--kubeconfig", self.plane.kubeconfig, *arguments)

    # --- starting -------------------------------------------------------------------------------

    def _start(self, ending: contextlib.ExitStack) -> None:
        """Start everything; register the end of each program with `ending`, in order."""
        self.plane = ending.enter_context(
            ControlPlane(self._assets, STATE / "plane", Options(address=str(ADDRESS.ip)))
        )
        ending.callback(self._stop_network)  # after the containers, which use it
        self.containerd = Containerd(STATE / "containerd", bridge=NAME, network=ADDRESS)
        ending.callback(self.containerd.stop)
        self.containerd.import_images(self._images)
        self.containerd.tag(TRAINER, PAUSE_IMAGE, PYTHON_IMAGE)
        self._write("kubelet.yaml", config.kubelet(STATE, self.plane, self.containerd))
        self._kubelet_kubeconfig = self._kubeconfig(f"system:node:{config.NODE}", "system:nodes")
        self.start_kubelet()
        ending.callback(self.stop_kubelet)
        self._start_proxy()
        self._start_dns()
        self._programs["kubelet"].wait_until(self._is_ready, patience_s=_PATIENCE_S)

    def _start_proxy(self) -> None:
        kubeconfig = self._kubeconfig("system:kube-proxy")
        config_file = self._write(_PROXY_CONFIG, config.proxy(kubeconfig))
        program = self._network / "kube-proxy"
        proxy = Program([program, "--config", config_file], STATE / "kube-proxy.log")
        self._programs["kube-proxy"] = proxy
        proxy.wait_until(_leads_to_the_api_server, patience_s=_PATIENCE_S)

    def _start_dns(self) -> None:
        self.kubectl("apply", "-f", self._write("dns-rights.yaml", *config.DNS_RIGHTS))
        corefile = STATE / "Corefile"
        corefile.write_text(config.corefile(self._kubeconfig(config.DNS_USER)))
        dns = Program([self._network / "coredns", "-conf", corefile], STATE / "coredns.log")
        self._programs["coredns"] = dns
        dns.wait_until(_answers_names, patience_s=_PATIENCE_S)

    def _stop_network(self) -> None:
        for name in ("coredns", "kube-proxy"):
            if (program := self._programs.pop(name, None)) is not None:
                program.stop()
        self._remove_rules()

    def _remove_rules(self) -> None:
        """Remove kube-proxy's rules, including those of a killed run."""
        if (config_file := STATE / _PROXY_CONFIG).exists():
            with contextlib.suppress(NodeError):  # it ends with 1 where there was nothing of IPv6
                run(self._network / "kube-proxy", "--config", config_file, "--cleanup")

    def _is_ready(self) -> bool:
        status = "{.status.conditions[?(@.type=='Ready')].status}"
        with contextlib.suppress(NodeError):
            return self.kubectl("get", "node", config.NODE, "-o", f"jsonpath={status}") == "True"
        return False

    def _kubeconfig(self, user: str, group: str | None = None) -> Path:
        return self.plane.kubeconfig_for(user, group=group)

    def _write(self, name: str, *objects: object) -> Path:
        path = STATE / name
        path.write_text(yaml.safe_dump_all(objects))
        return path


def _leads_to_the_api_server() -> bool:
    """Return True if the Service's address answers: kube-proxy has written its rules."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(OSError):
        url = f"https://{SERVICE_ADDRESS}/readyz"
        with urllib.request.urlopen(url, timeout=2, context=context):
            return True
    return False


def _answers_names() -> bool:
    url = f"http://{config.DNS_READY}/ready"
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
        return True
    return False


def _keep_only_logs() -> None:
    """Remove images, volumes and keys; keep the programs' logs for debugging."""
    for folder in ("containerd", "kubelet", "pod-logs", "volumes"):
        shutil.rmtree(STATE / folder, ignore_errors=True)
    for folder in ("etcd", "pki"):
        shutil.rmtree(STATE / "plane" / folder, ignore_errors=True)
