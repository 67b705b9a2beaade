"""Builds the operator's image, on a registry's Python image or on the local Debian base."""

import hashlib
import platform
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hack.cache import made_once
from hack.image import base
from hack.image.engine import Engine, EngineError
from trainingjob_operator import __version__

ROOT: Final = Path(__file__).resolve().parents[2]
IMAGE: Final = "localhost/trainingjob-operator:dev"
_LOCKS: Final = ("requirements-build.lock", "requirements-operator.lock")
_GLIBC: Final = ("2_17", "2_28", "2_34")


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The files that an image is built from.

    Attributes:
        folder: their directory.
        version: of the package in it.
        revision: their commit.
        epoch: the time that the image and what is installed in it get, in seconds since 1970; None:
            the time of the build. With one, no step of an earlier build is taken: Buildah 1.28 takes
            one that was made with another time.
    """

    folder: Path = ROOT
    version: str = __version__
    revision: str
    epoch: int | None = None


def build(
    engine: Engine, image: str, *, python_image: str | None, tree: Tree | None = None
) -> None:
    """Build on a registry's Python image; pip fetches the locked packages inside the build.

    Args:
        engine: what to build with.
        image: the name to give to it.
        python_image: the base image; None: that of the Dockerfile.
        tree: what to build it from; None: the clone as it is.

    Raises:
        EngineError: the build has failed.
    """
    tree = tree or _clone()
    _build(engine, image, python_image=python_image or _default_python_image(tree), tree=tree)


def build_locally(engine: Engine, image: str, *, tree: Tree | None = None) -> None:
    """Build on the base of `hack.image.base`, with wheels fetched beforehand and no network.

    Args:
        engine: what to build with.
        image: the name to give to it.
        tree: what to build it from; None: the clone as it is.

    Raises:
        BaseError: the base cannot be made.
        EngineError: the wheels cannot be fetched, or the build has failed.
    """
    archive = base.archive()
    python_image = base_image()
    if not engine.has(python_image):
        engine.import_archive(archive, python_image)
    tree = tree or _clone()
    _build(engine, image, python_image=python_image, tree=tree, wheels=fetched_wheels(tree.folder))


def fetched_wheels(tree: Path) -> Path:
    """Return the directory with the locked wheels of this tree, for the base's Python.

    Raises:
        EngineError: they cannot be fetched.
    """
    return made_once(wheels_name(tree), lambda folder: _fetch_wheels(tree, folder), say)


def base_image() -> str:
    """Return the image name of the local base."""
    kind, _, rest = base.name().partition("-")
    return f"localhost/trainingjob-{kind}:{rest}"


def _build(
    engine: Engine, image: str, *, python_image: str, tree: Tree, wheels: Path | None = None
) -> None:
    say(f"building {image} with {engine.kind}")
    begun = time.monotonic()
    arguments = {"PYTHON_IMAGE": python_image}
    if tree.epoch is not None:
        arguments["SOURCE_DATE_EPOCH"] = str(tree.epoch)
    engine.build(
        tree.folder,
        image,
        arguments=arguments,
        labels=labels(tree) | {"base.name": python_image},
        wheels=wheels,
        cached=tree.epoch is None,
    )
    size = "" if engine.kind == "buildah" else f", {engine.size(image) / 1e6:.0f} MB"
    say(f"built {image} in {time.monotonic() - begun:.1f} s{size}")


def _clone() -> Tree:
    revision = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return Tree(revision=revision.stdout.strip())


def labels(tree: Tree) -> dict[str, str]:
    """Return the labels that differ from build to build, without their common prefix."""
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(tree.epoch))
    return {"version": tree.version, "revision": tree.revision, "created": created}


def _default_python_image(tree: Tree) -> str:
    text = (tree.folder / "Dockerfile").read_text()
    found = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", text, re.MULTILINE)
    assert found is not None, "the Dockerfile names the image that it builds on"
    return found[1]


def wheels_name(tree: Path) -> str:
    """Return the cache name of the locked wheels of this tree."""
    content = hashlib.sha256(b"".join((tree / lock).read_bytes() for lock in _LOCKS))
    return f"wheels-{base.PYTHON}-{platform.machine()}-{content.hexdigest()[:12]}"


def _fetch_wheels(tree: Path, folder: Path) -> None:
    """Fetch the wheels for the base's Python, which may differ from the running one.

    The locks have no markers that depend on it; pip would evaluate those with the running Python.
    """
    say("fetching the wheels")
    platforms = [f"--platform=manylinux_{glibc}_{platform.machine()}" for glibc in _GLIBC]
    for lock in _LOCKS:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--require-hashes", "--only-binary=:all:", f"--python-version={base.PYTHON}"]
        command += ["--implementation=cp", *platforms, "--dest", str(folder)]
        done = subprocess.run([*command, "--requirement", str(tree / lock)], check=False)
        if done.returncode != 0:
            raise EngineError("`pip download` failed; its own words are above")


def say(line: str) -> None:
    """Print a line of progress."""
    sys.stderr.write(f"image: {line}\n")
    sys.stderr.flush()
