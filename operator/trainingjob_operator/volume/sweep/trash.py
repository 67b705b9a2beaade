"""Moves entries into `.trash/` before they are deleted, and deletes them from there.

A rename is atomic, so a directory never exists half deleted under its own name. A renamed entry
can be judged again, while no job can reach it. All state is in the names, so that another process
can finish the work of one that died:

    r.<token>.<name>    taken from the root, not judged again yet: it may be put back
    d.<token>.<name>    the same, from `datasets`
    x.<token>.<name>    condemned: it may be partly deleted already

On a volume so full that `.trash` cannot be created, the root itself serves as the trash for one
sweep, and the names start with `.trash.`. The next sweep moves the leftovers into `.trash`.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Self

from trainingjob_api.constants import REASON_UNSAFE_LAYOUT
from trainingjob_api.errors import EntryChangedError, VolumeError
from trainingjob_operator.volume.errors import DISK_FULL
from trainingjob_operator.volume.layout import DATASETS, TRASH, Entry, job_id_of
from trainingjob_operator.volume.safe_open import open_directory

MAX_OPEN: Final = 16
"""Maximum number of open directories of one tree. Deeper ones are moved up into the trash."""

MAX_MOVED: Final = 1024
"""Maximum number of directories that are moved up before they are emptied."""

_SLICE: Final = 64
_IN_ROOT: Final = f"{TRASH}."
_TOKEN_BYTES: Final = 6
_CONDEMNED: Final = "x"
_PLACES: Final = {"r": "", "d": DATASETS}
_LETTERS: Final = {place: letter for letter, place in _PLACES.items()}


@dataclass(slots=True)
class RemovalCounts:
    """The number of removed files and directories."""

    files: int = 0
    directories: int = 0


@dataclass(frozen=True, slots=True)
class Leftover:
    """An entry that an earlier process left in the trash.

    Attributes:
        name: its name in the trash.
        job_id: the id of its job.
        origin: its original name.
        below: the directory that it came from, as in `Entry`; None: it is condemned.
    """

    name: str
    job_id: str
    origin: str
    below: str | None


class _Level:
    """A directory that is being emptied."""

    __slots__ = ("fd", "name", "removed", "stream")

    def __init__(self, name: str, fd: int) -> None:
        self.name: Final = name
        self.fd: Final = fd
        self.removed = False
        self.stream = os.scandir(fd)

    def again(self) -> None:
        """List it again from the start: some file systems skip entries while others are removed."""
        self.stream.close()
        self.removed = False
        self.stream = os.scandir(self.fd)

    def close(self) -> None:
        self.stream.close()
        os.close(self.fd)


class Trash:
    """The trash of a root. Several processes may empty it at once."""

    def __init__(
        self, fd: int, device: int, tick: Callable[[], None], *, prefix: str = ""
    ) -> None:
        """Wrap an open trash; use `open` to open it.

        Args:
            fd: its descriptor.
            device: the volume's device number; no other file system is entered.
            tick: called regularly; an exception from it ends the work, and the next sweep
                continues it.
            prefix: the prefix of all names in it.
        """
        self.fd: Final = fd
        self.device: Final = device
        self._tick: Final = tick
        self.prefix: Final = prefix

    @classmethod
    def open(cls, root: int, device: int, tick: Callable[[], None]) -> Self:
        """Open the trash, and create it if it is missing.

        If there is no space to create it, the root is used in its place: a full volume needs the
        sweep most, and a rename within a directory needs no space.

        Raises:
            VolumeError: something other than a directory has its name.
            OSError: it cannot be created.
        """
        try:
            os.mkdir(TRASH, 0o700, dir_fd=root)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            return cls(os.dup(root), device, tick, prefix=_IN_ROOT)
        try:
            fd, _ = open_directory(TRASH, at=root, device=device)
        except (NotADirectoryError, EntryChangedError) as error:
            raise VolumeError(
                f"{TRASH} in the volume's root is not a directory: inspect it, and delete it",
                reason=REASON_UNSAFE_LAYOUT,
            ) from error
        return cls(fd, device, tick)

    def adopt(self, root: int) -> None:
        """Move in the leftovers of a sweep that used the root as its trash, as far as space allows.

        Raises:
            OSError: one cannot be moved.
        """
        if self.prefix:
            return
        with os.scandir(root) as found:
            strays = [each.name for each in found if each.name.startswith(_IN_ROOT)]
        for stray in strays:
            name = stray.removeprefix(_IN_ROOT)
            if _parse(name) is None:
                continue
            try:
                os.rename(stray, name, src_dir_fd=root, dst_dir_fd=self.fd)
            except OSError as error:
                if error.errno not in DISK_FULL:
                    raise
                return  # the next sweep moves the rest, after these were deleted

    def close(self) -> None:
        """Close its descriptor."""
        os.close(self.fd)

    # --- into the trash, and out of it --------------------------------------------------------

    def move_in(self, entry: Entry) -> str:
        """Rename an entry into the trash, and return its name there.

        Raises:
            FileNotFoundError: it no longer exists.
            OSError: it cannot be renamed.
        """
        name = self._name(_LETTERS[entry.below], entry.name)
        os.rename(entry.name, name, src_dir_fd=entry.at, dst_dir_fd=self.fd)
        return name

    def put_back(self, name: str, origin: str, at: int) -> None:
        """Move an entry back to its original name.

        Raises:
            FileExistsError: the name is in use; the entry stays in the trash.
        """
        found = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            self._put_back_directory(name, origin, at)
            return
        try:  # unlike rename, link replaces nothing
            os.link(name, origin, src_dir_fd=self.fd, dst_dir_fd=at, follow_symlinks=False)
        except OSError as error:
            # A hard link needs space, on tmpfs an inode; a rename needs none.
            if error.errno not in DISK_FULL | {errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}:
                raise
            self._put_back_without_links(name, origin, at)
            return
        os.unlink(name, dir_fd=self.fd)

    def _put_back_directory(self, name: str, origin: str, at: int) -> None:
        try:  # replaces an empty directory and nothing else
            os.rename(name, origin, src_dir_fd=self.fd, dst_dir_fd=at)
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.ENOTDIR}:
                raise FileExistsError(errno.EEXIST, "the name is in use", origin) from error
            raise

    def _put_back_without_links(self, name: str, origin: str, at: int) -> None:
        with suppress(FileNotFoundError):
            os.stat(origin, dir_fd=at, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, "the name is in use", origin)
        os.rename(name, origin, src_dir_fd=self.fd, dst_dir_fd=at)

    def leftovers(self) -> Iterator[Leftover]:
        """Yield the entries in it; names not given by us are ignored."""
        with os.scandir(self.fd) as found:
            for each in found:
                if each.name.startswith(self.prefix):
                    leftover = _parse(each.name.removeprefix(self.prefix))
                    if leftover is not None:
                        yield replace(leftover, name=each.name)

    def _name(self, letter: str, origin: str) -> str:
        return f"{self.prefix}{letter}.{os.urandom(_TOKEN_BYTES).hex()}.{origin}"

    # --- deletion -----------------------------------------------------------------------------

    def delete(self, name: str, origin: str, tally: RemovalCounts) -> None:
        """Delete the entry with this name in the trash, with everything in it.

        Raises:
            OSError: something in it cannot be deleted; the rest stays condemned.
        """
        try:
            found = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                os.unlink(name, dir_fd=self.fd)
                tally.files += 1
                return
            name = self.condemn(name, origin)
        except FileNotFoundError:
            return  # another process has deleted it
        self._delete_trees(name, origin, tally)

    def condemn(self, name: str, origin: str) -> str:
        """Rename an entry as condemned: it is never put back, as it may soon be half deleted.

        Returns:
            Its new name.

        Raises:
            FileNotFoundError: another process has deleted it.
        """
        if name.startswith(f"{self.prefix}{_CONDEMNED}."):
            return name
        condemned = self._name(_CONDEMNED, origin)
        os.rename(name, condemned, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        return condemned

    def _delete_trees(self, name: str, origin: str, tally: RemovalCounts) -> None:
        """Delete a tree, and the directories that were moved up out of it, the last one first."""
        work = [name]
        while work:
            name = work.pop()
            moved: list[str] = []
            try:
                done = self._empty(name, origin, moved, tally)
            except (FileNotFoundError, NotADirectoryError, EntryChangedError):
                done = True  # another process was faster; the next sweep finds what it left
            if not done:
                work.append(name)
            work.extend(moved)

    def _empty(self, name: str, origin: str, moved: list[str], tally: RemovalCounts) -> bool:
        """Delete a tree; False: the directories that were moved up have to be deleted first."""
        levels = [_Level(name, open_directory(name, at=self.fd, device=self.device)[0])]
        try:
            while levels:
                if len(moved) >= MAX_MOVED:
                    return False
                below = self._remove_files(levels[-1], tally)
                if below is None:
                    self._leave(levels, tally)
                elif len(levels) < MAX_OPEN:
                    self._enter(levels, below, tally)
                elif not self._move_up(levels[-1], below, origin, moved):
                    return False
        finally:
            for level in levels:
                level.close()
        return True

    def _remove_files(self, level: _Level, tally: RemovalCounts) -> str | None:
        """Unlink up to the next sub-directory; the hot loop."""
        fd, unlink, removed = level.fd, os.unlink, 0
        below = None
        try:
            for entry in level.stream:
                if entry.is_dir(follow_symlinks=False):
                    below = entry.name
                    break
                try:
                    unlink(entry.name, dir_fd=fd)
                except FileNotFoundError:
                    continue
                removed += 1
                if not removed % _SLICE:
                    self._tick()
        finally:
            level.removed = level.removed or removed > 0
            tally.files += removed
        return below

    def _enter(self, levels: list[_Level], below: str, tally: RemovalCounts) -> None:
        parent = levels[-1]
        try:
            fd, _ = open_directory(below, at=parent.fd, device=self.device)
        except FileNotFoundError:
            return
        except NotADirectoryError:  # replaced by a link: delete the link itself
            os.unlink(below, dir_fd=parent.fd)
            tally.files += 1
            return
        levels.append(_Level(below, fd))

    def _move_up(self, level: _Level, below: str, origin: str, moved: list[str]) -> bool:
        """Move a directory up into the trash; False: no space there until others are deleted."""
        name = self._name(_CONDEMNED, origin)
        try:
            os.rename(below, name, src_dir_fd=level.fd, dst_dir_fd=self.fd)
        except OSError as error:
            if error.errno not in DISK_FULL or not moved:
                raise
            return False
        level.removed = True
        moved.append(name)
        return True

    def _leave(self, levels: list[_Level], tally: RemovalCounts) -> None:
        """Remove the lowest directory, which should be empty."""
        self._tick()  # here as well: a tree may have only one file in each directory
        level = levels[-1]
        at = levels[-2].fd if len(levels) > 1 else self.fd
        try:
            os.rmdir(level.name, dir_fd=at)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or not level.removed:
                raise
            level.again()
            return
        else:
            tally.directories += 1
        if len(levels) > 1:
            levels[-2].removed = True
        levels.pop().close()


def _parse(name: str) -> Leftover | None:
    """Parse a name in the trash; None: it is not one of ours."""
    kind, _, rest = name.partition(".")
    token, _, origin = rest.partition(".")
    job_id = job_id_of(origin)
    if job_id is None or len(token) != 2 * _TOKEN_BYTES:
        return None
    if kind != _CONDEMNED and kind not in _PLACES:
        return None
    return Leftover(name, job_id, origin, _PLACES.get(kind))
