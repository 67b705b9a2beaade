"""`.trainingjob-marks/<uid>`: whose files a job's are, where the job cannot change it.

A job writes to its own directory, the mark in it included, and to nothing above it. So a copy of
the mark lies below the root. Where there is one it decides, and whatever a job has made of the mark
in its directory neither keeps its files for ever nor removes those of another job.
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
    """Note whose files a job's are, unless that is noted already.

    Args:
        mark: says it.
        at: the root's descriptor.
        device: the volume's.

    Raises:
        OSError: the volume does not take it.
        EntryChangedError: the directory was swapped just now.
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
    """Return whose files a job's are; None: that is not noted, or cannot be read.

    Args:
        uid: of the job.
        at: the root's descriptor.
        device: the volume's.
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
    """Every note, for the sweep. `close` it."""

    def __init__(self, fd: int) -> None:
        """Take over the descriptor of the directory."""
        self._fd: Final = fd

    @classmethod
    def open(cls, *, at: int, device: int) -> "MarkRegistry | None":
        """Open it; None: there is none, or none that can be used.

        Args:
            at: the root's descriptor.
            device: the volume's.
        """
        try:
            return cls(open_directory(MARKS, at=at, device=device)[0])
        except (OSError, EntryChangedError):
            return None

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)

    def entries(self) -> Iterator[tuple[str, str, int]]:
        """Yield each file's name, the job's uid, and when it changed last, in nanoseconds."""
        with os.scandir(self._fd) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    changed_ns = entry.stat(follow_symlinks=False).st_ctime_ns
                    # What a process that died has left is called `<uid>.<random>`.
                    yield entry.name, entry.name.partition(".")[0], changed_ns

    def forget(self, name: str) -> None:
        """Remove a note, if the volume lets us; else another time."""
        with suppress(OSError):
            os.unlink(name, dir_fd=self._fd)
