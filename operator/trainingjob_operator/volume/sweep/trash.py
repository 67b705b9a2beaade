"""`.trash/`: where an entry goes before it goes for good.

A rename is one step, so a directory never stands half removed under its own name, and what was
renamed can be judged again while no job finds it. The names say everything, so that a process that
dies leaves nothing that the next one cannot finish:

    r.<token>.<name>    taken from the root, not judged again yet: it may go back
    d.<token>.<name>    the same, from `datasets`
    x.<token>.<name>    condemned: it may be half gone already

On a volume that is so full that `.trash` cannot be made, the root itself is the trash for one sweep,
and the names begin with `.trash.`; the next one moves what was left there into `.trash`.
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
"""Directories of one tree that are open at once. Deeper ones are moved up into the trash."""

MAX_MOVED: Final = 1024
"""Directories that are moved up before they are emptied."""

_SLICE: Final = 64
_IN_ROOT: Final = f"{TRASH}."
_TOKEN_BYTES: Final = 6
_CONDEMNED: Final = "x"
_PLACES: Final = {"r": "", "d": DATASETS}
_LETTERS: Final = {place: letter for letter, place in _PLACES.items()}


@dataclass(slots=True)
class RemovalCounts:
    """Files and directories that were removed."""

    files: int = 0
    directories: int = 0


@dataclass(frozen=True, slots=True)
class Leftover:
    """An entry that an earlier process left in the trash.

    Attributes:
        name: in the trash.
        job_id: whose it is.
        origin: its own name.
        below: the place that it came from; None: it is condemned.
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
        """Stream it from the start: some file systems skip entries while others are removed."""
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
        """Take an open trash; `open` is the way in.

        Args:
            fd: its descriptor.
            device: the volume's; nothing else is entered.
            tick: called now and then; what it raises ends the work, which the next sweep goes on
                with.
            prefix: of all names in it.
        """
        self.fd: Final = fd
        self.device: Final = device
        self._tick: Final = tick
        self.prefix: Final = prefix

    @classmethod
    def open(cls, root: int, device: int, tick: Callable[[], None]) -> Self:
        """Open the trash, which is made if need be.

        Where there is no room to make it the root takes its place: a full volume is the one that has
        to be swept most of all, and a rename within a directory takes no room.

        Raises:
            VolumeError: something else has its name.
            OSError: the volume does not let it be made.
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
                f"{TRASH} in the volume's root is no directory: look at it, and remove it",
                reason=REASON_UNSAFE_LAYOUT,
            ) from error
        return cls(fd, device, tick)

    def adopt(self, root: int) -> None:
        """Move in what a sweep left in the root that had no room for a trash, as far as it fits.

        Raises:
            OSError: the volume does not let it be moved.
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
                return  # the next sweep goes on, when these have gone

    def close(self) -> None:
        """Close its descriptor."""
        os.close(self.fd)

    # --- into the trash, and out of it --------------------------------------------------------

    def move_in(self, entry: Entry) -> str:
        """Rename an entry into the trash, and return its name there.

        Raises:
            FileNotFoundError: it has gone.
            OSError: the volume does not let it go.
        """
        name = self._name(_LETTERS[entry.below], entry.name)
        os.rename(entry.name, name, src_dir_fd=entry.at, dst_dir_fd=self.fd)
        return name

    def put_back(self, name: str, origin: str, at: int) -> None:
        """Give what was taken its place again.

        Raises:
            FileExistsError: the place is taken; it stays in the trash.
        """
        found = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            self._put_back_directory(name, origin, at)
            return
        try:  # unlike rename, link replaces nothing
            os.link(name, origin, src_dir_fd=self.fd, dst_dir_fd=at, follow_symlinks=False)
        except OSError as error:
            # A second name takes room, on tmpfs an inode; a rename takes none.
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
                raise FileExistsError(errno.EEXIST, "the place is taken", origin) from error
            raise

    def _put_back_without_links(self, name: str, origin: str, at: int) -> None:
        with suppress(FileNotFoundError):
            os.stat(origin, dir_fd=at, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, "the place is taken", origin)
        os.rename(name, origin, src_dir_fd=self.fd, dst_dir_fd=at)

    def leftovers(self) -> Iterator[Leftover]:
        """Yield what is in it, by the names that we give; other names are ignored."""
        with os.scandir(self.fd) as found:
            for each in found:
                if each.name.startswith(self.prefix):
                    leftover = _parse(each.name.removeprefix(self.prefix))
                    if leftover is not None:
                        yield replace(leftover, name=each.name)

    def _name(self, letter: str, origin: str) -> str:
        return f"{self.prefix}{letter}.{os.urandom(_TOKEN_BYTES).hex()}.{origin}"

    # --- for good -----------------------------------------------------------------------------

    def delete(self, name: str, origin: str, tally: RemovalCounts) -> None:
        """Remove what is in the trash under this name.

        Raises:
            OSError: something of it cannot be removed; what is left stays condemned.
        """
        try:
            found = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                os.unlink(name, dir_fd=self.fd)
                tally.files += 1
                return
            name = self.condemn(name, origin)
        except FileNotFoundError:
            return  # another process has been here
        self._delete_trees(name, origin, tally)

    def condemn(self, name: str, origin: str) -> str:
        """Mark it as never to go back, as it may soon be half gone. Return its new name.

        Raises:
            FileNotFoundError: another process has been here.
        """
        if name.startswith(f"{self.prefix}{_CONDEMNED}."):
            return name
        condemned = self._name(_CONDEMNED, origin)
        os.rename(name, condemned, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        return condemned

    def _delete_trees(self, name: str, origin: str, tally: RemovalCounts) -> None:
        """Remove a tree, and those that were moved up out of it, the youngest first."""
        work = [name]
        while work:
            name = work.pop()
            moved: list[str] = []
            try:
                done = self._empty(name, origin, moved, tally)
            except (FileNotFoundError, NotADirectoryError, EntryChangedError):
                done = True  # another process has been here; what it left, the next sweep sees
            if not done:
                work.append(name)
            work.extend(moved)

    def _empty(self, name: str, origin: str, moved: list[str], tally: RemovalCounts) -> bool:
        """Remove a tree; False: see first to the directories that were moved up."""
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
        except NotADirectoryError:  # swapped for a link: the link itself goes
            os.unlink(below, dir_fd=parent.fd)
            tally.files += 1
            return
        levels.append(_Level(below, fd))

    def _move_up(self, level: _Level, below: str, origin: str, moved: list[str]) -> bool:
        """Move a directory up into the trash; False: no room there before others have gone."""
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
        self._tick()  # here as well: a tree may have a file in each directory
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
    """Return what a name in the trash says; None: we did not give it."""
    kind, _, rest = name.partition(".")
    token, _, origin = rest.partition(".")
    job_id = job_id_of(origin)
    if job_id is None or len(token) != 2 * _TOKEN_BYTES:
        return None
    if kind != _CONDEMNED and kind not in _PLACES:
        return None
    return Leftover(name, job_id, origin, _PLACES.get(kind))
