"""Builds other projects' operators from Go modules, for the benchmark, only on request.

Each has a folder beside this file with the go.mod that pins it and everything below it. The program
goes into the same cache as the control plane, with the project's own licence (both are under the
Apache License 2.0) and, out of the module, what an install applies: CRDs, webhooks and the
controller's configuration, rendered by the project's own kustomizations. Nothing of it is in
this repository or in what it releases.
"""

import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hack.cache import find_made, made_once
from hack.cluster import assets
from hack.cluster.assets import AssetsError, go, go_build, machine, say

PROGRAM: Final = "manager"
CRDS: Final = "crds.yaml"
WEBHOOKS: Final = "webhooks.yaml"
CONFIG: Final = "config.yaml"


@dataclass(frozen=True, kw_only=True)
class OtherOperator:
    """An operator that is a Go module.

    Attributes:
        name: of the directory with its go.mod, and of the cache entry.
        title: its name in reports.
        module, package: what is compiled.
        crds, webhooks: folders of the module that kustomize renders.
        config: the module's file with the controller's configuration.
    """

    name: str
    title: str
    module: str
    package: str
    crds: str
    webhooks: str
    config: str

    @property
    def version(self) -> str:
        """Return the version that its go.mod pins: `0.12.0`."""
        return assets.pinned_version(self.folder / "go.mod", self.module)

    @property
    def folder(self) -> Path:
        """Return the folder with its go.mod."""
        return assets.HERE / self.name


JOBSET: Final = OtherOperator(
    name="jobset",
    title="JobSet",
    module="sigs.k8s.io/jobset",
    package="sigs.k8s.io/jobset",
    crds="config/components/crd",
    webhooks="config/components/webhook",
    config="config/components/manager/controller_manager_config.yaml",
)
TRAINER: Final = OtherOperator(
    name="trainer",
    title="Kubeflow Trainer",
    module="github.com/kubeflow/trainer/v2",
    package="github.com/kubeflow/trainer/v2/cmd/trainer-controller-manager",
    crds="manifests/base/crds",
    webhooks="manifests/base/webhook",
    config="manifests/base/manager/controller_manager_config.yaml",
)
ALL: Final = {each.name: each for each in (JOBSET, TRAINER)}


def find_operator(name: str) -> Path | None:
    """Return the directory with an operator's program and files, or None if it has not been built."""
    return find_made(_name(ALL[name]))


def build_operator(name: str) -> Path:
    """Return the directory with an operator's program and files, built if needed.

    Raises:
        AssetsError: there is no Go to build with, or the build failed.
    """
    other = ALL[name]
    return find_operator(name) or made_once(_name(other), lambda folder: _make(other, folder), say)


def _name(other: OtherOperator) -> str:
    """Return the cache name for exactly these modules on this machine type."""
    content = hashlib.sha256(repr(other).encode())
    for name in ("go.mod", "go.sum"):
        content.update((other.folder / name).read_bytes())
    return f"{other.name}-{other.version}-{machine()}-{content.hexdigest()[:12]}"


def _make(other: OtherOperator, folder: Path) -> None:
    compiler = go()
    say(f"building {other.title} {other.version} from Go modules, once: this takes some minutes")
    program = folder / PROGRAM
    go_build(compiler, other.folder, "-ldflags", "-s -w", "-o", str(program), other.package)
    source = _source(compiler, other)
    kubectl = assets.build() / "kubectl"
    (folder / CRDS).write_text(_rendered(kubectl, source / other.crds))
    (folder / WEBHOOKS).write_text(_rendered(kubectl, source / other.webhooks))
    shutil.copyfile(source / other.config, folder / CONFIG)
    shutil.copyfile(source / "LICENSE", folder / "LICENSE")


def _source(compiler: str, other: OtherOperator) -> Path:
    """Return Go's directory of the compiled module."""
    asked = [compiler, "list", "-mod=readonly", "-m", "-json", other.module]
    said = subprocess.run(asked, cwd=other.folder, capture_output=True, text=True, check=False)
    if said.returncode != 0:
        raise AssetsError(f"Go does not know {other.module}: {said.stderr}")
    return Path(json.loads(said.stdout)["Dir"])


def _rendered(kubectl: Path, folder: Path) -> str:
    said = subprocess.run(
        [kubectl, "kustomize", folder], capture_output=True, text=True, check=False
    )
    if said.returncode != 0:
        raise AssetsError(f"kustomize cannot render {folder}: {said.stderr}")
    return said.stdout
