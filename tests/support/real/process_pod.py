"""Runs one pod of the chart as processes of this machine, with its own account, variables and files.

The image's program is this clone's, or that of another tree for an image with a tag of its own. What a container would see at a mount path is in a folder, and
the path is replaced in its variables and arguments; so is the address of a Service.
"""

import base64
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hack.cluster.control_plane import ControlPlane
from hack.ports import free_port
from tests.support.processes.child import clean_environment
from tests.support.processes.process_start import ProcessHandle, start_process, starts_anew
from tests.support.real.chart import token_kubeconfig

Object = dict[str, Any]

_API = "/var/run/secrets/kubernetes.io/serviceaccount"
_OWN_ADDRESS = re.compile(r":(\d+)")
_SERVICE = re.compile(r"http://([a-z0-9-]+)\.([a-z0-9-]+)\.svc:(\d+)")
_STOP_S = 10.0


@dataclass
class Site:
    """State shared by all pods of a namespace.

    Attributes:
        plane: the cluster.
        namespace: theirs.
        folder: where their files are; what claims hold stays there when a pod goes.
        ports: which port of this machine a Service's port leads to. Any other container's port is
            one of the pod's own: pods of one Deployment run side by side.
        secrets: data of the Secrets, as last seen.
        services: names of the Services.
        trees: by the tag of an image, the folder with the tree that its program is from.
    """

    plane: ControlPlane
    namespace: str
    folder: Path
    ports: dict[int, int] = field(default_factory=dict)
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    services: frozenset[str] = frozenset()
    trees: Mapping[str, Path] = field(default_factory=dict)


class ProcessPod:
    """A pod that runs as processes of this machine."""

    def __init__(self, site: Site, pod: Object) -> None:
        self.site = site
        self.pod = pod
        self.name = str(pod["metadata"]["name"])
        self.spec: Object = pod["spec"]
        self.folder = site.folder / "pods" / self.name
        self.folder.mkdir(parents=True)
        self._left = list(self.spec.get("initContainers", []))
        self._process: ProcessHandle | None = None
        self._main: Object = self.spec["containers"][0]
        self._own_ports: dict[int, int] = {}
        self._was_ready = False
        self.runs_main = False

    def step(self) -> str | None:
        """Advance the pod; return its new phase as a kubelet would report it; None: unchanged."""
        self._refresh_secrets()
        code = self._process.poll() if self._process is not None else 0
        if code is None:
            return "Running" if self.runs_main and self.is_ready() else None
        if not self.runs_main:
            # A failed init container is restarted.
            if self._process is not None and code == 0:
                self._left.pop(0)
            self.runs_main = not self._left
            self._process = self._start(self._main if self.runs_main else self._left[0])
            return None
        if self.spec["restartPolicy"] == "Never":
            return "Failed" if code else "Succeeded"
        raise AssertionError(f"{self.name} ended with {code}: {self.log()}")

    def stop(self) -> None:
        """Send SIGTERM, and SIGKILL to processes that take too long."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        """Return the output of all its containers."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def is_ready(self) -> bool:
        """Return the result of its readiness probe; True without a probe.

        Once it has been ready it is not asked again: at every look of the node that would be more than what
        it is there for.
        """
        self._was_ready = self._was_ready or self._probe()
        return self._was_ready

    def _probe(self) -> bool:
        probe = self._main.get("readinessProbe")
        if probe is None:
            return True
        port = self._main["ports"][0]["containerPort"]
        address = f"http://127.0.0.1:{self._port(port)}{probe['httpGet']['path']}"
        try:
            with urllib.request.urlopen(address, timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    # --- a container --------------------------------------------------------------------------

    def _start(self, container: Object) -> ProcessHandle:
        paths = self._paths(container)
        variables = {entry["name"]: self._value(entry) for entry in container.get("env", [])}
        others = clean_environment("KUBECONFIG")
        told = {name: self._here(value, paths) for name, value in variables.items()}
        arguments = [self._here(each, paths) for each in container["args"]]
        program = self._program(container)
        environment = others | program | {"KUBECONFIG": str(self._account(container))} | told
        command = [sys.executable, "-m", "trainingjob_cli", *arguments]
        with (self.folder / f"{container['name']}.log").open("ab") as log:
            anew = starts_anew() or bool(program)  # a fork can only run this checkout's program
            return start_process(command, environment, log, log, anew=anew, folder=self.folder)

    def _program(self, container: Object) -> dict[str, str]:
        tree = self.site.trees.get(container["image"].rpartition(":")[2])
        return {} if tree is None else {"PYTHONPATH": str(tree / "operator")}

    def _value(self, entry: Object) -> str:
        if "valueFrom" not in entry:
            return str(entry.get("value", ""))  # the API server omits an empty value
        reference = entry["valueFrom"]["secretKeyRef"]
        return base64.b64decode(self.site.secrets[reference["name"]][reference["key"]]).decode()

    def _here(self, text: str, paths: Mapping[str, Path]) -> str:
        """Replace mount paths and addresses by those of this machine."""
        if paths:  # all at once, the longest first: a folder's own path may look like a mount's
            known = "|".join(re.escape(path) for path in sorted(paths, key=len, reverse=True))
            text = re.sub(rf"(?<![\w.])({known})(?=/|$)", lambda found: str(paths[found[1]]), text)
        if own := _OWN_ADDRESS.fullmatch(text):
            return f"127.0.0.1:{self._port(int(own[1]))}"
        if (found := _SERVICE.match(text)) and self._is_served(found[1], found[2]):
            port = self.site.ports.get(int(found[3]))
            text = text if port is None else text.replace(found[0], f"http://127.0.0.1:{port}")
        return text

    def _port(self, port: int) -> int:
        """Return the port of this machine for a port of the container."""
        if port in self.site.ports:
            return self.site.ports[port]
        return self._own_ports.setdefault(port, free_port())

    def _is_served(self, service: str, namespace: str) -> bool:
        return namespace == self.site.namespace and service in self.site.services

    def _account(self, container: Object) -> Path:
        """Return the path of a kubeconfig for the container's service account; the file is missing if it has no token."""
        mounted = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
        if _API not in mounted and self.spec.get("automountServiceAccountToken") is False:
            return self.folder / "no-account"
        account = self.spec["serviceAccountName"]
        return token_kubeconfig(
            self.site.plane, self.folder / "kubeconfig", self.site.namespace, account
        )

    # --- volumes ------------------------------------------------------------------------------

    def _paths(self, container: Object) -> dict[str, Path]:
        volumes = {volume["name"]: volume for volume in self.spec.get("volumes", [])}
        return {
            mount["mountPath"]: self._volume(volumes[mount["name"]])
            for mount in container.get("volumeMounts", [])
            if mount["mountPath"] != _API
        }

    def _volume(self, volume: Object) -> Path:
        path = self.folder / "volumes" / str(volume["name"])
        if claim := volume.get("persistentVolumeClaim"):
            path = self.site.folder / "claims" / str(claim["claimName"])
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _refresh_secrets(self) -> None:
        for volume in self.spec.get("volumes", []):
            if "secret" not in volume:
                continue
            folder, secret = self._volume(volume), volume["secret"]
            data = self.site.secrets.get(secret["secretName"], {})
            items = secret.get("items") or [{"key": key, "path": key} for key in data]
            for item in items:
                if item["key"] not in data:
                    assert secret.get("optional"), item
                    continue
                content = base64.b64decode(data[item["key"]])
                path = folder / item["path"]
                if not path.exists() or path.read_bytes() != content:
                    path.with_suffix(".new").write_bytes(content)
                    path.with_suffix(".new").replace(path)

    def forget(self) -> None:
        """Remove the pod's files, except its logs."""
        shutil.rmtree(self.folder / "volumes", ignore_errors=True)
