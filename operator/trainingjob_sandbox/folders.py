"""Claims and locks the sandbox's folder (`--root`), and removes folder trees with read-only parts.

At the start a sandbox deletes files of an earlier sandbox from its folder. So a folder with other
contents must never be claimed: for example `--root .` in a directory with the user's own `pods/`.
It imports only the standard library, because `run/folder_cleanup` runs without site-packages.
"""

import fcntl
import os
import shutil
import stat
from pathlib import Path
from typing import Final

_MARK: Final = ".trainingjob-sandbox"


class RootError(OSError):
    """The folder cannot be used as a sandbox's folder. The message says why."""


def claim(root: Path) -> None:
    """Claim a new, an empty or an earlier sandbox's folder; a new one is readable by its owner only.

    Raises:
        RootError: it is not empty, and has never been a sandbox's folder.
        OSError: it cannot be created.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark = root / _MARK
    if not mark.exists() and any(root.iterdir()):
        raise RootError(
            f"{root} is not empty and not a sandbox's folder: choose a new or empty one"
        )
    mark.touch(mode=0o600)


def lock(root: Path) -> int:
    """Lock a claimed folder against other sandboxes, until the returned descriptor is closed.

    Raises:
        RootError: another sandbox runs in it.
    """
    descriptor = os.open(root / _MARK, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise RootError(f"another sandbox runs in {root}") from error
    return descriptor


def remove_tree(folder: Path) -> None:
    """Remove a folder and everything in it, as far as permissions allow.

    Programs leave folders behind that are not writable (module caches do so on purpose). Their
    contents can only be removed by root, or after making the folders writable.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.is_dir():
        return
    _make_writable(folder)
    for path, names, _ in os.walk(folder):  # makes a folder writable before walking into it
        for name in names:
            _make_writable(Path(path, name))
    shutil.rmtree(folder, ignore_errors=True)


def _make_writable(folder: Path) -> None:
    try:
        mode = folder.lstat().st_mode
        if stat.S_ISDIR(mode):  # not a symbolic link, which may lead out of the tree
            folder.chmod(stat.S_IMODE(mode) | stat.S_IRWXU)
    except OSError:
        return  # it belongs to another user
