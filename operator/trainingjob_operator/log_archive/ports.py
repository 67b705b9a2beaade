"""What archiving needs of its neighbours, declared where it is used."""

from collections.abc import AsyncGenerator
from typing import Protocol

from trainingjob_operator.core.job import JobKey
from trainingjob_operator.log_archive.sections import Section, Written


class LogSource(Protocol):
    """Where the logs of pods are read; see `kube.gateway`."""

    def pod_log(
        self, namespace: str, name: str, *, container: str
    ) -> AsyncGenerator[bytes, None]: ...


class LogArchive(Protocol):
    """A job's archive, open to add sections; see `log_archive.log_store`."""

    @property
    def size(self) -> int: ...
    @property
    def cut(self) -> int: ...
    async def find(self, pod: str, container: str = "") -> Written | None: ...
    async def ranks_of(self, attempt: int) -> frozenset[int]: ...
    async def begin(self, section: Section) -> None: ...
    async def write(self, part: bytes) -> None: ...
    async def finish(self, *, running: bool) -> None: ...
    async def close(self) -> None: ...


class LogStore(Protocol):
    """Where the archives of jobs are; see `log_archive.log_store`."""

    async def prepare(self, key: JobKey, uid: str) -> None: ...
    async def open(self, key: JobKey, uid: str) -> LogArchive: ...
