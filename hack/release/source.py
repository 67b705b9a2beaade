"""Exports the last commit, from which a release is built, without changes of the working tree."""

import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
TOOLS: Final = ("hack", "Makefile", "requirements-dev.lock")
"""The files that build a release; they must be those of the last commit."""


class ReleaseError(Exception):
    """The release cannot be made, or does not work. The message says why."""


@dataclass(frozen=True)
class Source:
    """The tree of one commit.

    Attributes:
        tree: the folder with its files; each has the time of the commit.
        commit: its id.
        epoch: its time, in seconds since 1970.
    """

    tree: Path
    commit: str
    epoch: int


def export(folder: Path, revision: str = "HEAD") -> Source:
    """Write the tree of a commit, of the last one by default, into an empty folder.

    Raises:
        ReleaseError: this is no clone, or it does not have the commit.
    """
    asked = ("--no-patch", "--format=%H %ct", f"{revision}^{{commit}}", "--")
    commit, epoch = _git("show", *asked).decode().split()
    archive = folder.with_suffix(".tar")
    archive.write_bytes(_git("archive", "--format=tar", commit))
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    archive.unlink()
    return Source(folder, commit, int(epoch))


def refuse_other_tools() -> None:
    """Refuse to build a release with tools that differ from the last commit.

    Only a build with the commit's own tools can be reproduced by others.

    Raises:
        ReleaseError: there are changes that are not committed; the message names them.
    """
    changed = _git("status", "--porcelain", "--", *TOOLS).decode().splitlines()
    if changed:
        names = ", ".join(line[3:] for line in changed)
        raise ReleaseError(
            f"what a release is made with has changes that are not committed: {names}"
        )


def last_tag() -> str | None:
    """Return the last release's tag before this commit; None: there is none."""
    try:
        return _git("describe", "--tags", "--abbrev=0", "--match=v*", "HEAD~1").decode().strip()
    except ReleaseError:
        return None


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise ReleaseError(f"`git {arguments[0]}` failed: {said}")
    return done.stdout
