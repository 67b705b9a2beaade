"""A common interface to Docker, Podman and Buildah, whichever is installed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_RUNNERS: Final = ("docker", "podman")
_BUILDERS: Final = (*_RUNNERS, "buildah")

LIMITS: Final = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096")
"""Options for `run`: Podman's default limits need CAP_SYS_RESOURCE, which root may lack."""


class EngineError(Exception):
    """There is no engine, or it has failed. The message says what to do."""


class Engine:
    """One container engine, with the few operations that are needed."""

    def __init__(self, name: str) -> None:
        """Use the engine with this name, or at this path."""
        self.program: Final = name
        self.kind: Final = Path(name).name

    def has(self, image: str) -> bool:
        """Return True if it has an image of this name."""
        kind = [] if self.kind == "buildah" else ["image"]
        image_option = ["--type", "image"] if self.kind == "buildah" else []
        return _succeeds([self.program, *kind, "inspect", *image_option, image])

    def import_archive(self, archive: Path, image: str) -> None:
        """Import a root file system as an image."""
        if self.kind != "buildah":
            self._run("import", str(archive), image)
            return
        container = self._output("from", "scratch")
        try:
            self._run("add", container, str(archive), "/")
            self._run("commit", container, image)
        finally:
            self._run("rm", container)

    def build(
        self,
        context: Path,
        image: str,
        *,
        arguments: dict[str, str],
        labels: dict[str, str],
        wheels: Path | None = None,
        cached: bool = True,
    ) -> None:
        """Build the Dockerfile in `context`.

        Args:
            context: the tree to build from.
            image: the name of the new image.
            arguments: the build's `ARG`s.
            labels: without the prefix that all have (`org.opencontainers.image.`).
            wheels: a folder with all wheels; the build gets no network then.
            cached: True if steps of an earlier build may be reused.
        """
        options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        # Not `ARG`s of the Dockerfile: Buildah 1.28 reuses a cached label whatever their values are.
        options += [f"--label=org.opencontainers.image.{k}={v}" for k, v in labels.items()]
        if wheels is not None:
            options += [f"--build-context=wheels={wheels}", "--network=none"]
        options += [] if cached else ["--no-cache"]
        self._run("build", "--tag", image, *options, str(context))

    def save(self, images: Sequence[str], archive: Path) -> None:
        """Write images into one archive, as `ctr images import` and `docker load` read it."""
        several = ["--multi-image-archive"] if self.kind == "podman" else []
        self._run("save", *several, "--output", str(archive), *images)

    def save_layout(self, image: str, archive: Path) -> None:
        """Write one image as an archive with an OCI image layout (Docker: from version 25 on)."""
        if self.kind == "buildah":
            self._run("push", image, f"oci-archive:{archive}")
            return
        layout = ["--format", "oci-archive"] if self.kind == "podman" else []
        self._run("save", *layout, "--output", str(archive), image)

    def load(self, archive: Path) -> str:
        """Load the image of an archive; return its name. Not with Buildah."""
        return self._output("load", "--quiet", "--input", str(archive)).rpartition("image: ")[2]

    def output(self, image: str, *arguments: str) -> str:
        """Return what an image's program prints with these arguments. Not with Buildah.

        Raises:
            EngineError: it has failed.
        """
        done = subprocess.run(
            [self.program, "run", "--rm", "--network=none", *LIMITS, image, *arguments],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise EngineError(f"{image} {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def size(self, image: str) -> int:
        """Return the unpacked size of an image in bytes; only with Docker and Podman."""
        return int(self._output("image", "inspect", "--format", "{{.Size}}", image))

    def _run(self, *arguments: str) -> None:
        done = subprocess.run([self.program, *arguments], check=False, stdout=sys.stderr)
        if done.returncode != 0:
            raise EngineError(f"`{self.kind} {arguments[0]}` failed; its own words are above")

    def _output(self, *arguments: str) -> str:
        return subprocess.check_output([self.program, *arguments], text=True).strip()


def find_builder() -> Engine:
    """Return the engine to build with: the one in `BUILDER`, else the first that works.

    Raises:
        EngineError: there is none.
    """
    if named := os.environ.get("BUILDER"):
        if shutil.which(named) is None:
            raise EngineError(f"BUILDER={named} is no program on PATH")
        return Engine(named)
    found = _first(_BUILDERS)
    if found is None:
        raise EngineError(
            "an image is built with Docker (its daemon running), Podman or Buildah, and none is "
            "there: on Debian or Ubuntu, apt-get install podman"
        )
    return found


def find_runner() -> Engine | None:
    """Return the engine to run images with; it has the images that `find_builder` builds."""
    named = os.environ.get("BUILDER")
    if named:
        return Engine(named) if Path(named).name in _RUNNERS and shutil.which(named) else None
    return _first(_RUNNERS)


def _first(names: Sequence[str]) -> Engine | None:
    # `docker` may be installed without its daemon; the others need none.
    probes = {"docker": ("info",)}
    for name in names:
        if shutil.which(name) and _succeeds([name, *probes.get(name, ("--version",))]):
            return Engine(name)
    return None


def _succeeds(command: Sequence[str]) -> bool:
    done = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    return done.returncode == 0
