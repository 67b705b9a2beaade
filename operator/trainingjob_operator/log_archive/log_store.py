"""Opens archives and creates job directories on the log volume, with a timeout for each call.

Every call checks that the volume is mounted at the root. If it is not, logs written into the empty
mount point would fill the node's disk unnoticed.
"""

import os
import stat
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

from trainingjob_api.errors import EntryChangedError, EntryError
from trainingjob_api.log_sections import Prefixer, Section, Written
from trainingjob_operator.core.bounded import Bound
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.log_archive.archive_file import ArchiveFile
from trainingjob_operator.log_archive.file_threads import FileThread, FileThreads
from trainingjob_operator.volume.errors import (
    affects_whole_volume,
    to_entry_error,
    to_volume_error,
)
from trainingjob_operator.volume.layout import directory_name, log_name
from trainingjob_operator.volume.mark_registry import register_mark
from trainingjob_operator.volume.ownership import Mark, Owner
from trainingjob_operator.volume.root import Root

T = TypeVar("T")

CALL_S: Final = 10.0
"""Timeout of a call in seconds: even a slow network file system answers within it."""

PREPARE_S: Final = 2.0
"""Timeout in seconds of calls for which the start of a job waits."""


class LogStore:
    """Opens the archives of jobs and creates their directories."""

    def __init__(self, path: str, owner: Callable[[], Owner], threads: FileThreads) -> None:
        """Open nothing yet.

        Args:
            path: the volume's root.
            owner: returns this install's identity, or raises VolumeError while it is unknown.
            threads: the threads for blocking file calls.
        """
        self._path: Final = path
        self._owner: Final = owner
        self.threads: Final = threads
        self._held: Final[set[str]] = set()  # archives that are open, maybe by a hanging call

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit of the threads."""
        return (Bound("volume_threads", self.threads.used, self.threads.limit),)

    async def claim(self, expected_id: str | None, known: Container[str] = ()) -> None:
        """Check that the volume is ours, and claim an empty one without an owner.

        Args:
            expected_id: the volume's id in the status of the default policy, if it has one: then an
                empty root means that the volume is not mounted.
            known: uids of existing jobs of ours, whose directories may be there already.

        Raises:
            VolumeError: it is not ours, or does not answer in time.
        """
        with self._explained():
            await self.threads.call_once(
                lambda: self._claim(expected_id, known), deadline_s=PREPARE_S
            )

    async def ensure_job_directory(self, key: JobKey, uid: str) -> None:
        """Create a job's directory, with the mark that names its owner, unless it exists.

        Raises:
            VolumeError: the volume fails, or does not answer in time.
            EntryError: only this directory has an error, not the volume.
        """
        mark = self._mark(key, uid)
        with self._explained():
            await self.threads.call_once(
                lambda: self._about(directory_name(uid), lambda: self._ensure_directory(mark)),
                deadline_s=PREPARE_S,
            )

    async def open(self, key: JobKey, uid: str) -> "Archive":
        """Open a job's archive, and create its directory if that was not possible before.

        The caller must close it.

        Raises:
            VolumeError: the volume fails, or does not answer in time.
            EntryError: only this file has an error, not the volume.
        """
        name, mark = log_name(uid), self._mark(key, uid)
        if name in self._held:
            raise EntryError(f"an earlier call for {name} has not returned")
        self._held.add(name)
        archive = Archive(self, name, lambda: self._held.discard(name))
        try:
            await archive.open(lambda: self._open(mark))
        except BaseException:
            await archive.close()
            raise
        return archive

    async def call_about(self, name: str, call: Callable[[], T], thread: FileThread) -> T:
        """Run a call on one job's entry in a thread, and convert an OSError into its cause."""
        with self._explained():
            return await thread.call(lambda: self._about(name, call), deadline_s=CALL_S)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise to_volume_error(error, self._path) from error

    def _about(self, name: str, call: Callable[[], T]) -> T:
        """Run a call on one job's entry, in the thread; tell errors of the entry from the volume's.

        Jobs can write to their own directories as any user, so an error there says nothing about
        the volume. It is the volume's only if the volume itself accepts no files.
        """
        try:
            return call()
        except EntryChangedError as error:
            raise EntryError(f"{name}: {error}") from error
        except OSError as error:
            if affects_whole_volume(error):
                raise
            with self._root() as root:
                root.check_writable()
            raise to_entry_error(error, name) from error

    def _mark(self, key: JobKey, uid: str) -> Mark:
        owner = self._owner()
        return Mark(
            uid=uid,
            namespace=key.namespace,
            name=key.name,
            cluster=owner.cluster,
            identity=owner.identity,
        )

    def _root(self) -> Root:
        root = Root.open(self._path)
        try:
            root.check(self._owner(), None)
        except BaseException:
            root.close()
            raise
        return root

    def _claim(self, expected_id: str | None, known: Container[str]) -> None:
        with Root.open(self._path) as root:
            root.claim(self._owner(), expected_id, known=known)

    def _ensure_directory(self, mark: Mark) -> None:
        with self._root() as root:
            _make_directory(root, mark)

    def _open(self, mark: Mark) -> ArchiveFile:
        with self._root() as root:
            # The archive is outside the directory, so an error of the directory does not matter:
            # its job may have made it unwritable. A full volume fails again below.
            with suppress(OSError, EntryChangedError):
                _make_directory(root, mark)
            return ArchiveFile.open(root.fd, log_name(mark.uid))


def _make_directory(root: Root, mark: Mark) -> None:
    """Create a job's directory with the permissions of the root, as the kubelet does for a `subPath`.

    The sticky bit is left out: with it no user could remove files of another one.
    """
    # Registered first, and errors are ignored: a job may have made its directory unwritable, or
    # damaged its mark.
    with suppress(OSError, EntryChangedError):
        register_mark(mark, at=root.fd, device=root.device)
    mode = stat.S_IMODE(os.fstat(root.fd).st_mode) & ~stat.S_ISVTX
    os.close(root.make_job_directory(mark, mode=mode))


class Archive:
    """A job's archive, open to append sections.

    One thread owns the file, and opens, reads, writes and closes it. If a call times out, the
    thread still works on the file; when that call returns, the thread closes the file, and the next
    writer can open it.
    """

    def __init__(self, store: LogStore, name: str, on_end: Callable[[], None]) -> None:
        """Open nothing yet.

        Args:
            store: the store, which classifies errors.
            name: the file name.
            on_end: called when the file is closed, or was never opened.
        """
        self._store: Final = store
        self._name: Final = name
        self._thread: Final = FileThread(store.threads, at_end=self._close_file, on_end=on_end)
        self._file: ArchiveFile | None = None
        self._lines = Prefixer(0)

    async def open(self, opener: Callable[[], ArchiveFile]) -> None:
        """Open the file.

        Args:
            opener: opens it; called in the thread.
        """

        def call() -> None:
            self._file = opener()

        await self._call(call)

    @property
    def size(self) -> int:
        """Bytes up to the end of the last complete section."""
        return self._opened.size

    @property
    def cut(self) -> int:
        """Bytes dropped from the beginning of the section that was added last."""
        return self._opened.cut

    async def find(self, pod: str, container: str = "") -> Written | None:
        """Return the complete section of a pod's container, if there is one."""
        return await self._call(lambda: self._opened.find(pod, container))

    async def ranks_of(self, attempt: int) -> frozenset[int]:
        """Return the ranks that have a complete section of this attempt."""
        return await self._call(lambda: self._opened.ranks_of(attempt))

    async def begin(self, section: Section) -> None:
        """Begin a section."""
        self._lines = Prefixer(section.rank)
        await self._call(lambda: self._opened.begin(section))

    async def write(self, part: bytes) -> None:
        """Append a chunk of the log."""
        lines = self._lines.feed(part)
        await self._call(lambda: self._opened.write(lines))

    async def finish(self, *, running: bool) -> None:
        """Complete the section by its trailer."""

        def call() -> None:
            self._opened.write(self._lines.end())
            self._opened.finish(running=running)

        await self._call(call)

    async def close(self) -> None:
        """Close the file, and wait for that unless a call on it has timed out.

        An incomplete section is removed before.
        """
        await self._thread.end(deadline_s=CALL_S)

    @property
    def _opened(self) -> ArchiveFile:
        assert self._file is not None
        return self._file

    async def _call(self, call: Callable[[], T]) -> T:
        return await self._store.call_about(self._name, call, self._thread)

    def _close_file(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # else the next writer removes it
                self._file.abandon()
            self._file.close()
