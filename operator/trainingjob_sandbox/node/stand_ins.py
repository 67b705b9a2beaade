"""Mount paths where nothing can be mounted: the folder itself is named in place of the path.

Many machines refuse mounts: not Linux, a container, a distribution that restricts user namespaces.
There a mount path in the command, its arguments or the variables is replaced by the folder that
would have been mounted. Where none of them names it, the program would look for it by itself and
find nothing, so the pod is refused instead.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from trainingjob_sandbox.node.mounts import Mount

_REFUSED: Final = "this machine allows neither root nor user namespaces to the sandbox"


class StandInError(Exception):
    """A mount path can neither be made real nor be replaced. The message says what to change."""


class StandIns:
    """The folders of one container, by the paths where they would have been mounted."""

    def __init__(self, mounts: Iterable[Mount], words: Iterable[str], *, own: Path) -> None:
        """Check that all mounts can be done without.

        Args:
            mounts: the container's mounts.
            words: the program's whole command line.
            own: the pod's own folder; what lies there goes with the pod.

        Raises:
            StandInError: one of them cannot.
        """
        self._folders = {m.target.rstrip("/"): m.source for m in mounts if m.source != m.target}
        self._pattern = _paths(self._folders)
        named = {found for word in words for found in self._pattern.findall(word)}
        for mount in mounts:
            target = mount.target.rstrip("/")
            if target in self._folders and target not in named:
                raise StandInError(
                    f"{target} cannot be mounted: {_REFUSED}; allow unprivileged user namespaces, "
                    "or name the path in the command, its arguments or a variable"
                )
            if mount.read_only and not Path(mount.source).is_relative_to(own):
                raise StandInError(
                    f"{target} cannot be kept from writing: {_REFUSED}; allow unprivileged user "
                    "namespaces, or mount it without readOnly"
                )

    def replace(self, word: str) -> str:
        """The word, with folders in place of mount paths."""
        return self._pattern.sub(lambda found: self._folders[found[0]], word)


def _paths(paths: Iterable[str]) -> "re.Pattern[str]":
    """Matches each of the paths, and what lies below it, as a part of a word or of a script."""
    # Longer ones first: /data/cache is not the folder "cache" in /data if it is a mount itself.
    names = "|".join(re.escape(path) for path in sorted(paths, key=len, reverse=True))
    return re.compile(rf"(?<![\w./-])(?:{names or '(?!)'})(?![\w.-])")
