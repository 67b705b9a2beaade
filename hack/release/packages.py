"""Builds the other files of a release: wheel, sdist, chart package and manifests."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from hack.release.source import ReleaseError, Source
from hack.tools.helm import helm

MANIFESTS: Final = ("install.yaml", "uninstall.yaml")
CRDS: Final = "crds.yaml"


def version(source: Source) -> str:
    """Return the version that the package has in this tree."""
    text = (source.tree / "operator/trainingjob_operator/__init__.py").read_text()
    found = re.search(r'^__version__ = "(\S+)"$', text, re.MULTILINE)
    if found is None:
        raise ReleaseError("trainingjob_operator names no version")
    return found[1]


def build_python(source: Source, out: Path) -> None:
    """Build wheel and sdist."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(out)]
    _run(command, source)


def build_chart(source: Source, out: Path) -> Path:
    """Package the chart; return the package.

    Helm 4 keeps the time of each file, which is the commit's.
    """
    chart = source.tree / "charts" / "trainingjob-operator"
    _run([str(helm(4)), "package", str(chart), "--destination", str(out)], source)
    return out / f"trainingjob-operator-{version(source)}.tgz"


def copy_manifests(source: Source, out: Path) -> None:
    """Copy the files for `kubectl apply`: the CRDs in one file, install.yaml and uninstall.yaml."""
    definitions = sorted((source.tree / "manifests" / "crds").glob("*.yaml"))
    (out / CRDS).write_text("---\n".join(path.read_text() for path in definitions))
    for name in MANIFESTS:
        shutil.copyfile(source.tree / "manifests" / name, out / name)


def _run(command: list[str], source: Source) -> None:
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(source.epoch)}
    done = subprocess.run(
        command, cwd=source.tree, env=environment, check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise ReleaseError(f"`{' '.join(command[:4])}` failed: {done.stderr}{done.stdout}")
