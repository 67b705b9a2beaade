"""The logs and directories of jobs on the volume, which is never waited for for long.

Every call looks anew whether what is mounted at the root is the volume: written into the empty
directory where one should be, logs would fill the node's disk unseen.
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
"""Deadline of a call in seconds: a slow network file system has answered by then."""

PREPARE_S: Final = 2.0
"""Deadline in seconds of what a job's start waits for."""


class LogStore:
    """The archives of all jobs, and their directories."""

    def __init__(self, path: str, owner: Callable[[], Owner], threads: FileThreads) -> None:
        """Open nothing yet.

        Args:
            path: the volume's root.
            owner: returns who we are, or raises VolumeError while that is unknown.
            threads: where files are read and written.
        """
        self._path: Final = path
        self._owner: Final = owner
        self.threads: Final = threads
        self._held: Final[set[str]] = set()  # archives in which a late call may still write

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit of the threads."""
        return (Bound("volume_threads", self.threads.used, self.threads.limit),)

    async def claim(self, expected_id: str | None, known: Container[str] = ()) -> None:
        """Take an empty volume that has no owner, before anything is put on it.

        Args:
            expected_id: the volume's id as the default policy remembers it, if it does: then an
                empty root is a volume that is not mounted.
            known: uids of jobs that exist and are ours, whose directories may be there already.

        Raises:
            VolumeError: it is not ours, or does not answer in time.
        """
        with self._explained():
            await self.threads.call_once(
                lambda: self._claim(expected_id, known), deadline_s=PREPARE_S
            )

    async def ensure_job_directory(self, key: JobKey, uid: str) -> None:
        """Make a job's directory, with the mark that names its owner, if it is not there.

        Raises:
            VolumeError: the volume does not take it in time.
            EntryError: something is wrong with this very directory, and not with the volume.
        """
        mark = self._mark(key, uid)
        with self._explained():
            await self.threads.call_once(
                lambda: self._about(directory_name(uid), lambda: self._ensure_directory(mark)),
                deadline_s=PREPARE_S,
            )

    async def open(self, key: JobKey, uid: str) -> "Archive":
        """Open a job's archive, and make its directory if that was not possible before.

        The caller closes it.

        Raises:
            VolumeError: the volume does not take it in time.
            EntryError: something is wrong with this very file, and not with the volume.
        """
        name, mark = log_name(uid), self._mark(key, uid)
        if name in self._held:
            raise EntryError(f"a call for {name} hangs")
        self._held.add(name)
        archive = Archive(self, name, lambda: self._held.discard(name))
        try:
            await archive.open(lambda: self._open(mark))
        except BaseException:
            await archive.close()
            raise
        return archive

    async def call_about(self, name: str, call: Callable[[], T], thread: FileThread) -> T:
        """Run a call about one job's entry in a thread, and explain what the volume refuses."""
        with self._explained():
            return await thread.call(lambda: self._about(name, call), deadline_s=CALL_S)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise to_volume_error(error, self._path) from error

    def _about(self, name: str, call: Callable[[], T]) -> T:
        """Run a call about one job's entry, in the thread, and find out whether an error is the entry's or the volume's.

        Jobs write to their own directories, as whatever user, so an error there says nothing of
        the volume. Of the volume it is if the volume itself takes no files.
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
            # The log lies beside the directory, and is written whatever the directory is like by
            # now: its job may have closed it. A volume that is full says so again below.
            with suppress(OSError, EntryChangedError):
                _make_directory(root, mark)
            return ArchiveFile.open(root.fd, log_name(mark.uid))


def _make_directory(root: Root, mark: Mark) -> None:
    """With the permissions of the root, as the kubelet makes a `subPath` that is not there.

    But not the sticky bit: with it no user could remove what another one has made.
    """
    # First, and whatever becomes of it: the job may have closed its directory, or ruined its mark.
    with suppress(OSError, EntryChangedError):
        register_mark(mark, at=root.fd, device=root.device)
    mode = stat.S_IMODE(os.fstat(root.fd).st_mode) & ~stat.S_ISVTX
    os.close(root.make_job_directory(mark, mode=mode))


class Archive:
    """A job's archive, open to add sections.

    One thread owns the file: it opens it, does all that is asked, and closes it. A call that comes
    too late is still at the file; the thread closes it, and it is free for the next writer, when
    the call comes back.
    """

    def __init__(self, store: LogStore, name: str, on_end: Callable[[], None]) -> None:
        """Open nothing yet.

        Args:
            store: explains what the volume refuses.
            name: the file's.
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
            opener: opens it, in the thread.
        """

        def call() -> None:
            self._file = opener()

        await self._call(call)

    @property
    def size(self) -> int:
        """Bytes of the whole sections."""
        return self._opened.size

    @property
    def cut(self) -> int:
        """Bytes that were left out of the section that was added last."""
        return self._opened.cut

    async def find(self, pod: str, container: str = "") -> Written | None:
        """Return the section of a pod's container, if it is whole."""
        return await self._call(lambda: self._opened.find(pod, container))

    async def ranks_of(self, attempt: int) -> frozenset[int]:
        """Return the ranks of which a section of this attempt is whole."""
        return await self._call(lambda: self._opened.ranks_of(attempt))

    async def begin(self, section: Section) -> None:
        """Begin a section."""
        self._lines = Prefixer(section.rank)
        await self._call(lambda: self._opened.begin(section))

    async def write(self, part: bytes) -> None:
        """Add a part of the log."""
        lines = self._lines.feed(part)
        await self._call(lambda: self._opened.write(lines))

    async def finish(self, *, running: bool) -> None:
        """End the section: from now on it is whole."""

        def call() -> None:
            self._opened.write(self._lines.end())
            self._opened.finish(running=running)

        await self._call(call)

    async def close(self) -> None:
        """Have the file closed, and wait for that unless a call on it is late.

        A section that was begun and not finished is removed before.
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
