"""Where the operator puts the logs of jobs, without ever waiting for the volume for long.

Every call looks anew whether what is mounted at the root is the volume: written into the empty
directory where one should be, logs would fill the node's disk and be seen by nobody.
"""

import os
import stat
import threading
from collections.abc import Callable, Container
from contextlib import suppress
from typing import Final, Protocol, TypeVar

from trainingjob_api.errors import EntryChangedError, EntryError, VolumeError
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.log_archive.archive_file import ArchiveFile
from trainingjob_operator.log_archive.sections import Prefixer, Section, Written
from trainingjob_operator.log_archive.threads import FileThreads
from trainingjob_operator.volume.faults import explain, explain_entry, is_of_volume
from trainingjob_operator.volume.layout import directory_name, log_name
from trainingjob_operator.volume.ownership import Mark, Owner
from trainingjob_operator.volume.register import register
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

    async def claim(self, expected_id: str | None, known: Container[str] = ()) -> None:
        """Take an empty volume that nobody has looked after, before anything is put on it.

        Args:
            expected_id: the volume's id as the default policy remembers it, if it does: then an
                empty root is a volume that is not mounted.
            known: uids of jobs that exist and are ours, whose directories may be there already.

        Raises:
            VolumeError: it is not ours, or does not answer in time.
        """
        await self._run(lambda: self._claim(expected_id, known), deadline_s=PREPARE_S)

    async def prepare(self, key: JobKey, uid: str) -> None:
        """Make a job's directory, with the mark that says whose it is.

        Raises:
            VolumeError: the volume does not take it in time.
            EntryError: something is wrong with this very directory, and not with the volume.
        """
        mark = self._mark(key, uid)
        await self._run(
            lambda: self._about(directory_name(uid), lambda: self._prepare(mark)),
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

        async def run(call: Callable[[], T], *, on_start: Callable[[], None] = lambda: None) -> T:
            return await self._run(lambda: self._about(name, call), on_start=on_start)

        archive = Archive(lambda: self._open(mark), run, lambda: self._held.discard(name))
        try:
            await archive.open()
        except BaseException:
            await archive.close()
            raise
        return archive

    async def _run(
        self,
        call: Callable[[], T],
        *,
        deadline_s: float = CALL_S,
        on_start: Callable[[], None] = lambda: None,
    ) -> T:
        try:
            return await self.threads.run(call, deadline_s=deadline_s, on_start=on_start)
        except OSError as error:
            raise explain(error, self._path) from error

    def _about(self, name: str, call: Callable[[], T]) -> T:
        """Run a call about one job's entry, in the thread, and say whose fault an error is.

        Jobs write to their own directories, as whatever user, so an error there says nothing of
        the volume. Of the volume it is if the volume itself takes no files.
        """
        try:
            return call()
        except EntryChangedError as error:
            raise EntryError(f"{name}: {error}") from error
        except OSError as error:
            if is_of_volume(error):
                raise
            with self._root() as root:
                root.check_writable()
            raise explain_entry(error, name) from error

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

    def _prepare(self, mark: Mark) -> None:
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

    But not the sticky bit: with it nobody could remove what another one has made.
    """
    # First, and whatever becomes of it: the job may have closed its directory, or ruined its mark.
    with suppress(OSError, EntryChangedError):
        register(mark, at=root.fd, device=root.device)
    mode = stat.S_IMODE(os.fstat(root.fd).st_mode) & ~stat.S_ISVTX
    os.close(root.make_job_directory(mark, mode=mode))


class Runner(Protocol):
    """Runs a call on the volume, within a deadline."""

    async def __call__(self, call: Callable[[], T], *, on_start: Callable[[], None] = ...) -> T:
        """Run it; `on_start` is called when it is certain to be run."""
        ...


class Archive:
    """A job's archive, open to add sections.

    A call that comes too late is still at the file, and a file that was closed under it could be
    another one by then. So the file is closed, and free for the next writer, when it comes back.
    """

    def __init__(
        self, opener: Callable[[], ArchiveFile], run: Runner, on_end: Callable[[], None]
    ) -> None:
        self._opener: Final = opener
        self._run: Final = run
        self._on_end: Final = on_end
        self._lock: Final = threading.Lock()
        self._file: ArchiveFile | None = None
        self._lines = Prefixer(0)
        self._is_busy = False
        self._is_over = False

    async def open(self) -> None:
        """Open the file."""

        def call() -> None:
            self._file = self._opener()

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
        """The section of a pod's container, if it is whole."""
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
        """Close the file, or let the call do it that is at it and has not come back.

        A section that was begun and not finished is removed before.

        Closing can hang as well. It is never left out: where no thread is free it gets one more.
        """
        with self._lock:
            self._is_over = True
            if self._is_busy:
                return
        is_started = False

        def start() -> None:
            nonlocal is_started
            is_started = True

        try:
            with suppress(VolumeError, EntryError):
                await self._run(self._end, on_start=start)
        finally:
            if not is_started:
                threading.Thread(target=self._end, name="volume-close", daemon=True).start()

    @property
    def _opened(self) -> ArchiveFile:
        assert self._file is not None
        return self._file

    async def _call(self, call: Callable[[], T]) -> T:
        def guarded() -> T:
            try:
                return call()
            finally:
                with self._lock:
                    self._is_busy = False
                    ends = self._is_over
                if ends:
                    self._end()

        def start() -> None:
            self._is_busy = True

        return await self._run(guarded, on_start=start)

    def _end(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # else the next writer removes it
                self._file.abandon()
            self._file.close()
        self._on_end()
