"""Runs the image as a container (operator or record service), with the restrictions of Pod Security level `restricted`."""

import shutil
import subprocess
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

import yaml

from hack.image.engine import LIMITS, Engine, find_runner
from tests.support.processes.operator import OperatorProcess
from tests.support.records.service import RecordServiceProcess
from trainingjob_web.kubeconfig import load_kubeconfig

_KUBECONFIG: Final = "/kubeconfig"
_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
RESTRICTIONS: Final = (
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=128m",
    "--pids-limit=64",
    *LIMITS,
)
"""A pod's `securityContext` and limits, in the words of `docker run`. The user is the image's."""


def engine() -> Engine:
    """Return the container engine.

    Raises:
        AssertionError: neither Docker nor Podman works here.
    """
    found = find_runner()
    assert found is not None, "an image is run with Docker or Podman, and neither works here"
    return found


def run_command(
    image: str, *arguments: str, entrypoint: str | None = None, scratch: str | None = None
) -> tuple[int, str]:
    """Run one command of the image to completion; return the exit code and the output.

    Args:
        image: the image.
        *arguments: the command.
        entrypoint: program to run instead of the image's own.
        scratch: a writable folder, which is discarded.
    """
    program, name = engine().program, f"trainingjob-test-{uuid4().hex[:8]}"
    command = [program, "run", "--rm", f"--name={name}", "--network=none", *_restrictions()]
    if scratch:
        command.append(f"--tmpfs={scratch}:mode=1777")
    if entrypoint:
        command.append(f"--entrypoint={entrypoint}")
    try:
        done = subprocess.run(
            [*command, image, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
    except subprocess.TimeoutExpired:  # stops the engine's command, but not the container
        subprocess.run([program, "rm", "--force", name], check=False, capture_output=True)
        raise
    return done.returncode, done.stdout


class ImageProcess(OperatorProcess):
    """The image's operator, as PID 1 of a container on this machine's own network."""

    def __init__(self, image: str, kubeconfig: Path, log: Path, **settings: str) -> None:
        super().__init__(kubeconfig, log, **settings)
        self._image = image
        self._name = f"trainingjob-test-{uuid4().hex[:8]}"

    def start(self) -> None:
        """Start a container; an existing log is appended to."""
        mount, access = self._access()
        environment = {"TRAININGJOB_WEB__ADDRESS": "127.0.0.1:0", **access, **self.settings}
        self.spawn(
            [
                *(engine().program, "run", "--rm", f"--name={self._name}", "--network=host"),
                *_restrictions(),
                f"--volume={mount}:ro",
                *(f"--env={name}={value}" for name, value in environment.items()),
                self._image,
            ]
        )

    def _access(self) -> tuple[str, dict[str, str]]:
        """Return the arguments for access to the API server: mounts and variables.

        With a service account's token over TLS, as in a pod: by the files and variables that the
        kubelet gives to it. The sandbox speaks plain HTTP, which no pod's client does.
        """
        given = load_kubeconfig(self.kubeconfig)
        if not (given.token and given.ca):
            readable = self.log_path.with_suffix(".kubeconfig")
            shutil.copyfile(self.kubeconfig, readable)
            readable.chmod(0o644)  # the container's user does not exist on this machine
            return f"{readable}:{_KUBECONFIG}", {"KUBECONFIG": _KUBECONFIG}
        folder = self.log_path.with_suffix(".account")
        folder.mkdir(exist_ok=True)
        # The namespace of the account and of the default policy.
        [context] = yaml.safe_load(self.kubeconfig.read_text())["contexts"]
        namespace = context["context"]["namespace"].encode()
        contents = {"token": given.token.encode(), "ca.crt": given.ca, "namespace": namespace}
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        server = urlsplit(given.server)
        return f"{folder}:{_ACCOUNT}", {
            "KUBERNETES_SERVICE_HOST": str(server.hostname),
            "KUBERNETES_SERVICE_PORT": str(server.port),
        }

    def kill(self) -> None:
        """Send SIGKILL to the container: killing only the engine's command would leave it running."""
        _kill(self._name)
        self.process.wait(30)


class RecordServiceImage(RecordServiceProcess):
    """The image's record service, with its database in a folder of this machine."""

    def __init__(self, image: str, folder: Path) -> None:
        super().__init__(folder, "sqlite:////data/records.db", token_file="/token")
        self.token_file.chmod(0o644)  # the container's user does not exist on this machine
        self._data = folder / "data"
        self._data.mkdir(exist_ok=True)
        self._data.chmod(0o777)  # in a pod, `fsGroup` makes it writable
        self._image = image
        self._name = f"trainingjob-test-{uuid4().hex[:8]}"

    def start(self) -> None:
        """Start a container; an existing log is appended to."""
        self.spawn(
            [
                *(engine().program, "run", "--rm", f"--name={self._name}", "--network=host"),
                *_restrictions(),
                f"--volume={self.token_file}:/token:ro",
                f"--volume={self._data}:/data",
                *(f"--env={name}={value}" for name, value in self._settings.items()),
                self._image,
                "records",
            ]
        )

    def kill(self) -> None:
        """Send SIGKILL to the container."""
        _kill(self._name)
        self.process.wait(30)


def _kill(container: str) -> None:
    subprocess.run(
        [engine().program, "kill", "--signal=KILL", container], capture_output=True, check=False
    )


def _restrictions() -> tuple[str, ...]:
    # Podman mounts an empty /tmp and /run over a read-only root, Docker and the kubelet do not.
    return (
        *RESTRICTIONS,
        *(("--read-only-tmpfs=false",) if engine().kind == "podman" else ()),
    )
