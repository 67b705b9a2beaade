"""Runs a real Kubernetes control plane on this machine, by default on loopback addresses.

etcd, kube-apiserver, kube-controller-manager and kube-scheduler as processes, each with its log in
a file; RBAC and the audit log are on, as on a user's cluster. There is no kubelet: pods stay
Pending until a node (the sandbox's, or a simulated one of kwok) runs them.
"""

import contextlib
import json
import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml

from hack.cluster.pki import SERVICE_ADDRESS, Authority
from hack.cluster.process import SPARING, Program
from hack.ports import free_port

LOOPBACK: Final = "127.0.0.1"
_PATIENCE_S: Final = 180.0
_AUDIT_POLICY: Final = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    # One line for each request, after its response.
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a control plane.

    Attributes:
        scheduler: True to run one; otherwise a test must bind the pods.
        durable: True for production behaviour: etcd syncs to disk, and the programs use Go's normal
            garbage collection. A benchmark needs this, tests do not.
        api_server, controllers: further flags.
        scheduler_qps: the scheduler's own limit of requests per second.
        address: where the API server listens. An address other than loopback can be reached by pods: the
            Service `kubernetes` leads there, and pods may be privileged.
    """

    scheduler: bool = True
    durable: bool = False
    api_server: tuple[str, ...] = ()
    controllers: tuple[str, ...] = ()
    scheduler_qps: int = 500
    address: str = LOOPBACK


class ControlPlane:
    """A running control plane, as a context manager. Enter it in the main thread.

    Attributes:
        root: its folder, with `audit.log` and the log of each program.
        server: the API server's URL.
        kubeconfig: lets the administrator in.
        authority: signs further certificates, for users (`kubeconfig_for`) and for nodes.
    """

    def __init__(self, assets: Path, root: Path, options: Options | None = None) -> None:
        """Prepare a control plane; nothing is started before it is entered.

        Args:
            assets: the folder with the programs (`hack.cluster.assets`).
            root: its folder, which must not hold another one's state.
            options: what may differ.
        """
        self._assets: Final = assets
        self._options: Final = options or Options()
        self._programs: Final[dict[str, Program]] = {}
        self.root: Final = root
        self.kubeconfig: Final = root / "kubeconfig"
        self.audit_log: Final = root / "audit.log"

    def __enter__(self) -> Self:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.authority = Authority(self.root / "pki")
        self._etcd_port, self._etcd_peer_port, port = (free_port() for _ in range(3))
        self.server = f"https://{self._options.address}:{port}"
        self._port = port
        self._admin = self.authority.client("admin", group="system:masters")
        self.authority.kubeconfig(self.kubeconfig, self.server, self._admin)
        self._accounts = self.authority.server("service-accounts")
        self._serving = self.authority.server(
            "kube-apiserver",
            SERVICE_ADDRESS,
            "kubernetes.default.svc",
            *{self._options.address} - {LOOPBACK},
        )
        try:
            self._start_etcd()
            self.start_api_server()
            self._start_controllers()
            if self._options.scheduler:
                self._start_scheduler()
            self._wait_for_default_account()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop everything, the API server before etcd: the other way round it hangs a minute."""
        for name in reversed(list(self._programs)):
            self._programs.pop(name).stop()

    # --- operations for tests ------------------------------------------------------------------

    def pid(self, program: str) -> int:
        """Return the process id of `etcd`, `kube-apiserver`, ..."""
        return self._programs[program].pid

    def stop_api_server(self) -> None:
        """Stop the API server; keep its state and its address."""
        self._programs.pop("kube-apiserver").stop()

    def start_api_server(self) -> None:
        """Start the API server again at the same address."""
        self._start("kube-apiserver", *self._api_server_flags())
        self._programs["kube-apiserver"].wait_until(
            lambda: self._answers("/readyz"), patience_s=_PATIENCE_S
        )

    def stop_etcd(self) -> None:
        """Stop etcd, after the API server; its data stay in `root / "etcd"`."""
        self._programs.pop("etcd").stop()

    def start_etcd(self) -> None:
        """Start etcd again with the existing data, at the same address."""
        self._start_etcd()

    def compact(self) -> int:
        """Compact etcd's history, so that a watch from an earlier version gets 410.

        Returns:
            The revision up to which the history was removed.
        """
        found = self._etcd("/v3/kv/range", {"key": "AA=="})
        revision = int(found["header"]["revision"])
        self._etcd("/v3/kv/compaction", {"revision": str(revision), "physical": True})
        return revision

    def kubeconfig_for(self, user: str, *, group: str | None = None) -> Path:
        """Write a kubeconfig for a user with a client certificate; return its path."""
        path = self.root / f"{user.replace(':', '-')}.kubeconfig"
        return self.authority.kubeconfig(
            path, self.server, self.authority.client(user, group=group)
        )

    def request(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a GET, or a POST with a body, as the administrator.

        Raises:
            OSError: there is no response, or (`urllib.error.HTTPError`) an error status.
        """
        request = urllib.request.Request(
            self.server + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30, context=self._tls()) as answer:
            found = answer.read()
        return dict(json.loads(found)) if found.startswith(b"{") else {}

    # --- the programs --------------------------------------------------------------------------

    def _start(self, name: str, *flags: str) -> None:
        variables = {} if self._options.durable else SPARING
        command: list[str | Path] = [self._assets / name, *flags]
        self._programs[name] = Program(command, self.root / f"{name}.log", variables)

    def _start_etcd(self) -> None:
        client = f"http://127.0.0.1:{self._etcd_port}"
        peer = f"http://127.0.0.1:{self._etcd_peer_port}"
        self._start(
            "etcd",
            f"--data-dir={self.root / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            "--log-level=warn",
            *(() if self._options.durable else ("--unsafe-no-fsync",)),
        )

    def _api_server_flags(self) -> list[str]:
        policy = self.root / "audit-policy.yaml"
        policy.write_text(yaml.safe_dump(_AUDIT_POLICY))
        return [
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            f"--bind-address={self._options.address}",
            f"--secure-port={self._port}",
            f"--tls-cert-file={self._serving.certificate}",
            f"--tls-private-key-file={self._serving.key}",
            f"--client-ca-file={self.authority.certificate}",
            f"--service-account-key-file={self._accounts.key}",
            f"--service-account-signing-key-file={self._accounts.key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-cluster-ip-range={SERVICE_ADDRESS}/24",
            "--authorization-mode=Node,RBAC",
            *self._reachable_by_pods(),
            f"--audit-log-path={self.audit_log}",
            f"--audit-policy-file={policy}",
            # How `kubectl logs` reaches a node.
            f"--kubelet-client-certificate={self._admin.certificate}",
            f"--kubelet-client-key={self._admin.key}",
            f"--kubelet-certificate-authority={self.authority.certificate}",
            "--kubelet-preferred-address-types=InternalIP",
            *self._options.api_server,
        ]

    def _reachable_by_pods(self) -> list[str]:
        if self._options.address == LOOPBACK:
            return ["--endpoint-reconciler-type=none"]
        return [f"--advertise-address={self._options.address}", "--allow-privileged"]

    def _start_controllers(self) -> None:
        kubeconfig = self.kubeconfig_for("system:kube-controller-manager")
        self._start(
            "kube-controller-manager",
            f"--kubeconfig={kubeconfig}",
            f"--service-account-private-key-file={self._accounts.key}",
            f"--root-ca-file={self.authority.certificate}",
            # Without it the Job controller is forbidden to write jobs/status.
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--secure-port=0",
            *self._options.controllers,
        )

    def _start_scheduler(self) -> None:
        kubeconfig = self.kubeconfig_for("system:kube-scheduler")
        config = self.root / "scheduler.yaml"
        qps = self._options.scheduler_qps
        client = {"kubeconfig": str(kubeconfig), "qps": qps, "burst": 2 * qps}
        config.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "kubescheduler.config.k8s.io/v1",
                    "kind": "KubeSchedulerConfiguration",
                    "leaderElection": {"leaderElect": False},
                    "clientConnection": client,
                }
            )
        )
        self._start("kube-scheduler", f"--config={config}", "--secure-port=0")

    # --- readiness -----------------------------------------------------------------------------

    def _wait_for_default_account(self) -> None:
        """Wait for the default service account: it is created last, and without it no pod is admitted."""
        self._programs["kube-controller-manager"].wait_until(
            lambda: self._answers("/api/v1/namespaces/default/serviceaccounts/default"),
            patience_s=_PATIENCE_S,
        )

    def _answers(self, path: str) -> bool:
        with contextlib.suppress(OSError):
            self.request(path)
            return True
        return False

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        context.load_cert_chain(self._admin.certificate, self._admin.key)
        return context

    def _etcd(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Call etcd through its JSON gateway, as `etcdctl` does through gRPC."""
        url = f"http://127.0.0.1:{self._etcd_port}{path}"
        request = urllib.request.Request(url, data=json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(json.loads(answer.read()))
