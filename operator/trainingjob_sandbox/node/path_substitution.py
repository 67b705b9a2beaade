"""Replaces mount paths in commands and variables by the volumes' folders, where mounts do not work.

Many machines do not allow mounts: not Linux, a container, a distribution that restricts user
namespaces. There, a mount path in the command, its arguments or the variables is replaced by the
folder that would have been mounted. If none of them contains the path, the program would look for
it by itself and not find it, so the container is not started.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from trainingjob_sandbox.node.mounts import Mount

_NO_NAMESPACES: Final = "the sandbox does not run as root, and may not create user namespaces"


class SubstitutionError(Exception):
    """A mount path can be neither mounted nor replaced. The message says what to change."""


class PathSubstitution:
    """Replaces the mount paths of one container by their folders."""

    def __init__(self, mounts: Iterable[Mount], words: Iterable[str], *, own: Path) -> None:
        """Check that every mount can be replaced.

        Args:
            mounts: the container's mounts.
            words: the command line, the working directory and the values of the variables.
            own: the pod's own folder, which is removed with the pod; a read-only mount of it need
                not be protected.

        Raises:
            SubstitutionError: a mount cannot be replaced.
        """
        self._folders = {m.target.rstrip("/"): m.source for m in mounts if m.source != m.target}
        self._pattern = _paths(self._folders)
        named = {found for word in words for found in self._pattern.findall(word)}
        for mount in mounts:
            target = mount.target.rstrip("/")
            if target in self._folders and target not in named:
                raise SubstitutionError(
                    f"{target} cannot be mounted: {_NO_NAMESPACES}; allow unprivileged user "
                    "namespaces, or name the path in the command, its arguments or a variable"
                )
            if mount.read_only and not Path(mount.source).is_relative_to(own):
                raise SubstitutionError(
                    f"{target} cannot be mounted read-only: {_NO_NAMESPACES}; allow unprivileged "
                    "user namespaces, or mount it without readOnly"
                )

    def replace(self, word: str) -> str:
        """Return the word with mount paths replaced by folders."""
        return self._pattern.sub(lambda found: self._folders[found[0]], word)


def _paths(paths: Iterable[str]) -> "re.Pattern[str]":
    """Return a pattern that matches each path, also as the prefix of a longer path or within a script."""
    # Longest first: if /data/cache is a mount itself, it is not the folder "cache" of /data.
    names = "|".join(re.escape(path) for path in sorted(paths, key=len, reverse=True))
    return re.compile(rf"(?<![\w./-])(?:{names or '(?!)'})(?![\w.-])")
