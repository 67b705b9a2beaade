"""The sandbox's folder, of one sandbox at a time, and the removal of folders in which programs worked.

What an earlier sandbox left in its folder is deleted at the start, so a folder that holds something
else must never be taken for one: `--root .` in a directory with a `pods/` of the user's own, say.
Standard library only: see `run/folder_cleanup`.
"""

import fcntl
import os
import shutil
import stat
from pathlib import Path
from typing import Final

_MARK: Final = ".trainingjob-sandbox"


class RootError(OSError):
    """The folder is not ours to use. The message says why."""


def claim(root: Path) -> None:
    """Make the folder a sandbox's, readable by its owner only, if it is new or empty.

    Raises:
        RootError: it holds something, and no sandbox has ever been in it.
        OSError: it cannot be made.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark = root / _MARK
    if not mark.exists() and any(root.iterdir()):
        raise RootError(f"{root} is not empty and no sandbox's folder: choose a new or empty one")
    mark.touch(mode=0o600)


def lock(root: Path) -> int:
    """Keep other sandboxes out of a claimed folder until the descriptor returned is closed.

    Raises:
        RootError: a sandbox runs in it.
    """
    descriptor = os.open(root / _MARK, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise RootError(f"another sandbox runs in {root}") from error
    return descriptor


def remove_tree(folder: Path) -> None:
    """Remove a folder and everything in it, as far as it lets itself be removed.

    Programs leave folders behind that are not writable (caches of modules do it on purpose);
    what is in them can only be removed by whoever is root, or has changed that before.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.is_dir():
        return
    _make_writable(folder)
    for path, names, _ in os.walk(folder):  # a folder is changed before it is walked into
        for name in names:
            _make_writable(Path(path, name))
    shutil.rmtree(folder, ignore_errors=True)


def _make_writable(folder: Path) -> None:
    try:
        mode = folder.lstat().st_mode
        if stat.S_ISDIR(mode):  # a link may lead out of here
            folder.chmod(stat.S_IMODE(mode) | stat.S_IRWXU)
    except OSError:
        return  # another user's
