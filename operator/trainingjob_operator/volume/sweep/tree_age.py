"""Finds the newest change in a tree: the walk stops at the first young file, and sizes an old tree.

A directory's own time does not change when a file below it is written, so every file is examined.
Directories are streamed, never listed whole: one may have ten million files. The number of open
descriptors is bounded however deep the tree is: directories far up are closed, and reopened through
`..`. A reopened directory must be the same one, unchanged, so that its stream continues at the same
position.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from trainingjob_api.errors import EntryChangedError
from trainingjob_operator.volume.safe_open import open_directory, open_parent
from trainingjob_operator.volume.sweep.rules import FUTURE_NS, last_change

MAX_OPEN: Final = 16
"""Maximum number of open directories of one tree; each takes two descriptors."""

_SLICE: Final = 256
_BLOCK: Final = 512


@dataclass(frozen=True, slots=True)
class Top:
    """The identity of the top of a tree, to check that it is the same one, unchanged.

    The ctime is not compared: our own rename changes it.
    """

    device: int
    inode: int
    mtime_ns: int
    size: int
    ctime_ns: int = field(compare=False)


def stat_entry(name: str, *, at: int) -> tuple[os.stat_result, Top]:
    """Return the stat result of an entry, and its identity."""
    found = os.stat(name, dir_fd=at, follow_symlinks=False)
    return found, Top(
        found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size, found.st_ctime_ns
    )


@dataclass(slots=True)
class Tree:
    """The result of a walk. Complete only if the tree is not young.

    Attributes:
        top: the identity of the top at the start of the walk.
        newest_ns: the last change that was seen.
        young: whether the walk stopped at something that changed after the cut-off.
        files: number of entries that are not directories.
        directories: number of directories, including the top.
        bytes: disk space of everything without other hard links; deleting it frees at least this.
        linked: number of files with other hard links, here or elsewhere.
    """

    top: "Top"
    newest_ns: int = 0
    young: bool = False
    files: int = 0
    directories: int = 0
    bytes: int = 0
    linked: int = 0


class _Level:
    """A directory on the path from the top to the current one."""

    __slots__ = ("_stream", "changed_ns", "consumed", "entries", "fd", "identity")

    def __init__(self, fd: int, found: os.stat_result) -> None:
        self.identity: Final = (found.st_dev, found.st_ino)
        self.changed_ns: Final = found.st_ctime_ns
        self.consumed = 0
        self.fd = fd
        self._stream: os._ScandirIterator[str] | None = None
        self.entries: Iterator[os.DirEntry[str]] = iter(())
        self._start()

    def _start(self) -> None:
        self._stream = os.scandir(self.fd)
        self.entries = self._stream

    @property
    def is_open(self) -> bool:
        return self.fd >= 0

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def reopen(self, child: int) -> None:
        """Reopen the directory from a child, and continue after the entries that were seen.

        An unchanged directory is listed in the same order; a changed one is young anyway.
        """
        self.fd = open_parent(child)
        found = os.fstat(self.fd)
        if (found.st_dev, found.st_ino) != self.identity or found.st_ctime_ns != self.changed_ns:
            raise EntryChangedError("a directory was moved or changed during the walk")
        self._start()
        next(islice(self.entries, self.consumed, self.consumed), None)


class _Walk:
    """One walk through one tree."""

    def __init__(
        self, tree: Tree, device: int, cutoff_ns: int | None, now_ns: int, tick: Callable[[], None]
    ) -> None:
        self._tree = tree
        self._device = device
        self._cutoff = cutoff_ns
        self._now = now_ns
        self._tick = tick
        self._levels: list[_Level] = []

    def walk(self, name: str, at: int) -> None:
        try:
            self._enter(name, at, is_top=True)
            while self._levels and not self._tree.young:
                self._go_on()
        finally:
            for level in self._levels:
                level.close()

    def _enter(self, name: str, at: int, *, is_top: bool = False) -> None:
        """Enter a directory. The top's own time has been judged already."""
        self._tick()  # here as well: a tree may have only one file in each directory
        fd, found = open_directory(name, at=at, device=self._device)
        try:
            self._levels.append(_Level(fd, found))
        except BaseException:
            os.close(fd)
            raise
        self._count_directory(found, judge=not is_top)
        if len(self._levels) > MAX_OPEN:
            self._levels[-MAX_OPEN - 1].close()

    def _go_on(self) -> None:
        """Continue in the lowest directory, up to its next sub-directory."""
        level = self._levels[-1]
        below = self._next_directory(level)
        if self._tree.young:
            return
        if below is not None:
            self._enter(below, level.fd)
            return
        self._levels.pop()
        try:
            if self._levels and not self._levels[-1].is_open:
                self._levels[-1].reopen(level.fd)
        finally:
            level.close()

    def _next_directory(self, level: _Level) -> str | None:
        """Count files up to the next sub-directory or the first young file; the hot loop."""
        tree, cutoff, horizon = self._tree, self._cutoff, self._now + FUTURE_NS
        newest, size, files = tree.newest_ns, 0, 0
        consumed = level.consumed
        below = None
        for entry in level.entries:
            consumed += 1
            if entry.is_dir(follow_symlinks=False):
                below = entry.name
                break
            found = entry.stat(follow_symlinks=False)
            changed, written = found.st_ctime_ns, found.st_mtime_ns
            if changed < written <= horizon:
                changed = written
            if changed > newest:  # noqa: PLR1730 - a call of max takes longer than all the rest
                newest = changed
            files += 1
            if found.st_nlink > 1:
                tree.linked += 1
            else:
                size += found.st_blocks
            if cutoff is not None and changed > cutoff:
                tree.young = True
                break
            if not consumed % _SLICE:
                self._tick()
        level.consumed = consumed
        tree.newest_ns = newest
        tree.files += files
        tree.bytes += size * _BLOCK
        return below

    def _count_directory(self, found: os.stat_result, *, judge: bool) -> None:
        tree = self._tree
        tree.directories += 1
        tree.bytes += found.st_blocks * _BLOCK
        if judge:
            changed = last_change(found.st_mtime_ns, found.st_ctime_ns, now_ns=self._now)
            tree.newest_ns = max(tree.newest_ns, changed)
            tree.young = self._cutoff is not None and changed > self._cutoff


def _never() -> None:
    """Accept any duration."""


def measure(
    name: str,
    *,
    at: int,
    device: int,
    now_ns: int,
    cutoff_ns: int | None = None,
    moved: bool = False,
    tick: Callable[[], None] = _never,
) -> Tree:
    """Measure an entry and everything in it.

    Args:
        name: the entry's name.
        at: the descriptor of its directory.
        device: the volume's device number; no other file system is entered.
        now_ns: the volume's time.
        cutoff_ns: stop at the first file that changed after this time. None: measure everything.
        moved: whether we have renamed it: then the ctime of the top is ignored.
        tick: called regularly; an exception from it ends the walk.

    Raises:
        EntryChangedError: it changed during the walk, so there is no result.
        OSError: EXDEV: a file system is mounted in it; or any other error of the volume. An entry
            that cannot be read must be kept.
    """
    top, identity = stat_entry(name, at=at)
    if top.st_dev != device:
        raise OSError(errno.EXDEV, "another file system is mounted on it", name)
    tree = Tree(identity)
    changed_ns = 0 if moved else top.st_ctime_ns
    tree.newest_ns = last_change(top.st_mtime_ns, changed_ns, now_ns=now_ns)
    tree.young = cutoff_ns is not None and tree.newest_ns > cutoff_ns
    if not stat.S_ISDIR(top.st_mode):
        tree.files = 1
        tree.linked = int(top.st_nlink > 1)
        tree.bytes = 0 if top.st_nlink > 1 else top.st_blocks * _BLOCK
    elif not tree.young:
        try:
            _Walk(tree, device, cutoff_ns, now_ns, tick).walk(name, at)
        except (FileNotFoundError, NotADirectoryError) as error:
            # Something vanished during the walk: the entry itself, or what was in it.
            os.stat(name, dir_fd=at, follow_symlinks=False)
            raise EntryChangedError("something in it vanished during the walk") from error
    return tree
