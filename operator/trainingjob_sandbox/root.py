"""The sandbox's folder: nobody else's, and at any time one sandbox's only.

What an earlier sandbox left in it is deleted at the start, so a folder that holds something else
must never be taken for one: `--root .` in a directory with a `pods/` of the user's own, say.
"""

import fcntl
import os
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
