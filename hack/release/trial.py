"""Tests a release as users use it: its wheel, image, chart and manifests.

It uses a real control plane on this machine without a node: the objects are admitted, and pods stay
Pending. `make e2e` tests a running install.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from hack.chart import NAMESPACE
from hack.cluster.assets import build as build_cluster
from hack.cluster.control_plane import ControlPlane
from hack.image.engine import find_runner
from hack.release.packages import CRDS
from hack.release.source import ReleaseError
from hack.tools.helm import helm

RELEASE: Final = "trainingjob-operator"
SERVED_WITHIN_S: Final = 30.0


def try_wheel(wheel: Path, version: str) -> None:
    """Install the wheel into a new virtual environment, and check its version.

    Raises:
        ReleaseError: it is not installed, or is another version.
    """
    with tempfile.TemporaryDirectory(prefix="trainingjob-wheel-") as folder:
        output(sys.executable, "-m", "venv", folder)
        pip = (f"{folder}/bin/python", "-m", "pip", "--disable-pip-version-check", "install")
        output(*pip, "--quiet", str(wheel))
        said = output(f"{folder}/bin/trainingjob", "version", cwd=folder)
    expect(f"trainingjob-operator: {version}" in said, f"the wheel says {said!r}")


def try_image(archive: Path, version: str) -> str:
    """Load the image, if it can be run, and check its version; return a description of what was done.

    Raises:
        ReleaseError: it is another version.
        EngineError: it cannot be loaded, or does not run.
    """
    engine = find_runner()
    if engine is None:
        return "not run: neither Docker nor Podman is there"
    name = engine.load(archive)
    said = engine.output(name, "version")
    expect(f"trainingjob-operator: {version}" in said, f"the image says {said!r}")
    return f"runs as {name}"


def try_chart(package: Path, manifests: Path) -> None:
    """Install the chart package with Helm on a real control plane, then the manifests with kubectl.

    Raises:
        ReleaseError: Helm or kubectl refuses, or something is not made.
    """
    assets, program = build_cluster(), str(helm(4))
    with (
        tempfile.TemporaryDirectory(prefix="trainingjob-release-") as scratch,
        ControlPlane(assets, Path(scratch) / "state") as plane,
    ):
        given = ("--kubeconfig", str(plane.kubeconfig), "--namespace", NAMESPACE)
        kubectl = (str(assets / "kubectl"), "--kubeconfig", str(plane.kubeconfig))
        output(program, "install", RELEASE, str(package), "--create-namespace", *given)
        status = json.loads(output(program, "status", RELEASE, "--output", "json", *given))
        expect(status["info"]["status"] == "deployed", f"Helm says {status['info']}")
        _job_is_admitted(kubectl)
        output(program, "uninstall", RELEASE, "--no-hooks", *given)
        output(*kubectl, "delete", "namespace", NAMESPACE, "--timeout=60s")
        # The CRDs that Helm has kept are reused.
        files = [f"--filename={manifests / name}" for name in (CRDS, "install.yaml")]
        output(*kubectl, "apply", "--server-side", "--force-conflicts", *files)
        listed = output(*kubectl, "get", "deployments", "-n", NAMESPACE, "-o", "json")
        names = {each["metadata"]["name"] for each in json.loads(listed)["items"]}
        wanted = _deployments(manifests / "install.yaml")
        expect(RELEASE in wanted, f"the manifests have no operator: {wanted}")
        expect(names == wanted, f"the manifests made {names}, and have {wanted}")


def _deployments(manifest: Path) -> set[str]:
    """Return the names of the Deployments in a manifest."""
    documents = yaml.safe_load_all(manifest.read_text())
    return {
        each["metadata"]["name"] for each in documents if each and each["kind"] == "Deployment"
    }


def _job_is_admitted(kubectl: Sequence[str]) -> None:
    job: dict[str, Any] = {
        "apiVersion": "trainingjob.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "first", "namespace": "default"},
        "spec": {"template": {"spec": {"containers": [{"name": "trainer", "image": "example"}]}}},
    }
    deadline = time.monotonic() + SERVED_WITHIN_S
    while True:
        command = (*kubectl, "apply", "-f", "-")
        done = subprocess.run(
            command, input=json.dumps(job), capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return
        expect(time.monotonic() < deadline, f"a job is refused: {done.stderr}")
        time.sleep(0.2)


def output(*command: str, cwd: str | None = None) -> str:
    """Return what a program prints.

    Raises:
        ReleaseError: it fails.
    """
    # Use the installed package, not this clone's modules.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )
    expect(done.returncode == 0, f"`{' '.join(command[:4])}` failed: {done.stderr}{done.stdout}")
    return done.stdout


def expect(condition: bool, otherwise: str) -> None:  # noqa: FBT001
    """Raise a ReleaseError with this message if the condition does not hold."""
    if not condition:
        raise ReleaseError(otherwise)
