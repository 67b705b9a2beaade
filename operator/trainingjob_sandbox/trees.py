"""Removing folders in which a user's program has worked. Standard library only: see `run/janitor`."""

import os
import shutil
import stat
from pathlib import Path


def remove_tree(folder: Path) -> None:
    """Remove a folder and everything in it, as far as it lets itself be removed.

    Programs leave folders behind that nobody may write to (caches of modules do it on purpose);
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
