"""Builds a minimal Debian with Python, for machines that can reach a mirror but no registry.

It is the base of the image if `python:*-slim` cannot be pulled, and of the machine of `make newcomer`. It
is a tar archive in the cache, made by debootstrap from the mirror that this machine's apt uses.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from hack.cache import heartbeat, made_once

SUITE: Final = "bookworm"
PYTHON: Final = "3.11"
"""The Python of that suite."""

_PACKAGES: Final = ("ca-certificates", "make", "python3", "python3-venv")
_NOT_NEEDED: Final = (
    "./dev/*",
    "./etc/apt/sources.list",  # contains this machine's mirror
    "./usr/share/doc/*",
    "./usr/share/locale/*",
    "./usr/share/man/*",
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
    "./var/log/*",
)
_RECIPE: Final = 1
"""Raise it when the recipe below changes (changes of the constants above are detected)."""


class BaseError(Exception):
    """There is no base, and none can be built here. The message says what to do."""


def name() -> str:
    """Return its name in the cache, which identifies its inputs."""
    content = repr((SUITE, _PACKAGES, _NOT_NEEDED, _RECIPE)).encode()
    return f"base-{SUITE}-{platform.machine()}-{hashlib.sha256(content).hexdigest()[:12]}"


def archive() -> Path:
    """Return the archive, built if needed.

    Raises:
        BaseError: debootstrap is missing, or not allowed, or has failed.
    """
    return made_once(name(), _make, say) / "base.tar"


def _make(folder: Path) -> None:
    debootstrap = shutil.which("debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if debootstrap is None:
        raise BaseError("debootstrap is missing: on Debian or Ubuntu, apt-get install debootstrap")
    if os.geteuid() != 0:
        raise BaseError("debootstrap has to be run by root: run this once as root")
    say(f"making a Debian {SUITE} with Python {PYTHON}, once: this takes a minute or two")
    # Not below the cache: a home may be mounted `nodev`, and debootstrap creates devices.
    with tempfile.TemporaryDirectory(prefix="trainingjob-base-") as scratch:
        root, log = Path(scratch) / "root", Path(scratch) / "log"
        command = [
            debootstrap,
            "--variant=minbase",
            f"--include={','.join(_PACKAGES)}",
            SUITE,
            str(root),
            *mirror(),
        ]
        with heartbeat(say), log.open("wb") as out:
            done = subprocess.run(command, stdout=out, stderr=out, check=False)
        if done.returncode != 0:
            lines = "\n".join(log.read_text("utf-8", "replace").splitlines()[-10:])
            raise BaseError(f"debootstrap failed; its last words:\n{lines}")
        excluded = [f"--exclude={pattern}" for pattern in _NOT_NEEDED]
        subprocess.run(
            ["tar", "--numeric-owner", "-C", root, *excluded, "-cf", folder / "base.tar", "."],
            check=True,
        )


def mirror() -> list[str]:
    """Return the Debian mirror of this machine's apt; empty: debootstrap's default."""
    if shutil.which("apt-get") is None:
        return []
    fields = "$(LABEL) $(COMPONENT) $(REPO_URI)"
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    for line in listed.splitlines():
        if line.startswith("Debian main "):
            return [line.removeprefix("Debian main ")]
    return []


def say(line: str) -> None:
    """Print a line of progress."""
    sys.stderr.write(f"base: {line}\n")
    sys.stderr.flush()
