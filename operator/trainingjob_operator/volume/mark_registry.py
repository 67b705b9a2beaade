"""Keeps tamper-proof copies of the jobs' marks in `.trainingjob-marks/<uid>`.

A job can write to its own directory, including the mark in it, but not to the root. So a copy of
the mark is stored in a directory of the root. If the copy exists, it decides: a job that changes
the mark in its directory can neither keep its files for ever nor have another job's files removed.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from trainingjob_api.errors import EntryChangedError
from trainingjob_operator.volume.layout import MARKS, is_uid
from trainingjob_operator.volume.owner_files import read_mark, write_mark
from trainingjob_operator.volume.ownership import Mark
from trainingjob_operator.volume.safe_open import open_directory

_MODE: Final = 0o755


def register_mark(mark: Mark, *, at: int, device: int) -> None:
    """Store a copy of a job's mark, unless the same one is stored already.

    Args:
        mark: the owner of the job's files.
        at: the root's descriptor.
        device: the volume's device number.

    Raises:
        OSError: it cannot be written.
        EntryChangedError: the directory was replaced just now.
    """
    if not is_uid(mark.uid):
        return
    with suppress(FileExistsError):
        os.mkdir(MARKS, _MODE, dir_fd=at)
    fd, _ = open_directory(MARKS, at=at, device=device)
    try:
        if read_mark(at=fd, name=mark.uid) != mark:
            write_mark(mark, at=fd, name=mark.uid)
    finally:
        os.close(fd)


def registered_mark(uid: str, *, at: int, device: int) -> Mark | None:
    """Return the stored copy of a job's mark; None: there is none, or it cannot be read.

    Args:
        uid: the job's uid.
        at: the root's descriptor.
        device: the volume's device number.
    """
    if not is_uid(uid):
        return None
    try:
        fd, _ = open_directory(MARKS, at=at, device=device)
        try:
            mark = read_mark(at=fd, name=uid)
        finally:
            os.close(fd)
    except (OSError, EntryChangedError):
        return None
    return mark if mark is not None and mark.uid == uid else None


class MarkRegistry:
    """Lists and removes the stored marks, for the sweep. Must be closed."""

    def __init__(self, fd: int) -> None:
        """Take ownership of the directory's descriptor."""
        self._fd: Final = fd

    @classmethod
    def open(cls, *, at: int, device: int) -> "MarkRegistry | None":
        """Open the registry; None: it does not exist or cannot be opened.

        Args:
            at: the root's descriptor.
            device: the volume's device number.
        """
        try:
            return cls(open_directory(MARKS, at=at, device=device)[0])
        except (OSError, EntryChangedError):
            return None

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)

    def entries(self) -> Iterator[tuple[str, str, int]]:
        """Yield each file's name, the job's uid, and the file's ctime in nanoseconds."""
        with os.scandir(self._fd) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    changed_ns = entry.stat(follow_symlinks=False).st_ctime_ns
                    # A process that died while writing leaves a file `<uid>.<random>`.
                    yield entry.name, entry.name.partition(".")[0], changed_ns

    def forget(self, name: str) -> None:
        """Remove a stored mark; on an error the next sweep tries again."""
        with suppress(OSError):
            os.unlink(name, dir_fd=self._fd)
