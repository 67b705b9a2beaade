"""In-memory fake of the log volume: real archive format, without files and threads.

Every call is one of the cluster's, so that the operator can die at each of them.
"""

import os
import weakref
from collections.abc import Container
from contextlib import closing
from typing import Final

from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.objects import Request
from trainingjob_api.errors import EntryError, VolumeError
from trainingjob_api.log_sections import Prefixer, Section, Written
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.log_archive.archive_file import ArchiveFile


class MemoryLogStore:
    """Archives of jobs.

    Attributes:
        fault: error that every call raises.
        entry_faults: error that calls about a job's entries raise, by the job's name.
        prepared: uids of the jobs whose directories were made.
    """

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster: Final = cluster
        self.fault: VolumeError | None = None
        self.entry_faults: Final[dict[str, EntryError]] = {}
        self.prepared: list[str] = []
        self._files: Final[dict[str, int]] = {}

    async def claim(self, expected_id: str | None, known: Container[str] = ()) -> None:
        """Claim the volume; always succeeds."""

    async def ensure_job_directory(self, key: JobKey, uid: str) -> None:
        async with Request(self.cluster, "volume.prepare", key.name):
            self._fail(key)
            self.prepared.append(uid)

    async def open(self, key: JobKey, uid: str) -> "MemoryArchive":
        async with Request(self.cluster, "volume.open", key.name):
            self._fail(key)
            if uid not in self._files:
                fd = self._files[uid] = os.memfd_create(uid)
                # A run of all tests has thousands of stores, and the number of open files is limited.
                weakref.finalize(self, os.close, fd)
            return MemoryArchive(self, ArchiveFile(os.dup(self._files[uid])))

    def text(self, uid: str) -> str:
        """Return the text of a job's archive."""
        if uid not in self._files:
            return ""
        with closing(ArchiveFile(os.dup(self._files[uid]))) as file:
            return os.pread(self._files[uid], file.size, 0).decode()

    def headers(self, uid: str) -> list[str]:
        """Return the uids of the pods in an archive, section by section."""
        lines = self.text(uid).splitlines()
        return [line.split()[-1] for line in lines if line.startswith("==> ")]

    def _fail(self, key: JobKey | None = None) -> None:
        if self.fault is not None:
            raise self.fault
        if key is not None and key.name in self.entry_faults:
            raise self.entry_faults[key.name]


class MemoryArchive:
    """A job's archive, open to add sections."""

    def __init__(self, store: MemoryLogStore, file: ArchiveFile) -> None:
        self._store: Final = store
        self._file: Final = file
        self._lines = Prefixer(0)

    @property
    def size(self) -> int:
        return self._file.size

    @property
    def cut(self) -> int:
        return self._file.cut

    async def find(self, pod: str, container: str = "") -> Written | None:
        return self._file.find(pod, container)

    async def ranks_of(self, attempt: int) -> frozenset[int]:
        return self._file.ranks_of(attempt)

    async def begin(self, section: Section) -> None:
        async with Request(self._store.cluster, "volume.begin", section.pod):
            self._lines = Prefixer(section.rank)
            self._file.begin(section)

    async def write(self, part: bytes) -> None:
        async with Request(self._store.cluster, "volume.write", ""):
            self._store._fail()
            self._file.write(self._lines.feed(part))

    async def finish(self, *, running: bool) -> None:
        async with Request(self._store.cluster, "volume.finish", ""):
            self._file.write(self._lines.end())
            self._file.finish(running=running)

    async def close(self) -> None:
        if not self._store.cluster.has_crashed:
            self._file.abandon()
        self._file.close()
