"""The interfaces (Protocols) that the reconciler and the resync use of other rooms."""

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from trainingjob_operator.core.decision import ArchiveSearch, Delivery, Event, LogOutcome
from trainingjob_operator.core.job import JobKey, JobStatus, JobView
from trainingjob_operator.core.pod import PodView


class Records(Protocol):
    """Delivers records to the endpoint; `records.outbox` documents the methods."""

    @property
    def endpoint_is_down(self) -> bool: ...
    def offer(self, key: JobKey) -> None: ...
    def delivery_of(self, job: JobView) -> Delivery | None: ...
    def forget_delivery(self, key: JobKey) -> None: ...
    async def store_at_once(self, job: JobView, status: JobStatus) -> bool: ...


class Logs(Protocol):
    """Archives the logs of pods; `log_archive.archiver` documents the methods."""

    @property
    def volume_error(self) -> str: ...
    def outcomes_of(self, job: JobView) -> Mapping[str, LogOutcome]: ...
    def request_logs(
        self, job: JobView, pods: Iterable[PodView], archive_search: ArchiveSearch | None = None
    ) -> bool: ...
    def forget(self, job: JobView, present: Collection[str]) -> None: ...
    def forget_log_outcomes(self, uid: str) -> None: ...
    async def ensure_job_directory(self, job: JobView) -> bool: ...


class Recorder(Protocol):
    """Records Events."""

    def record(self, job: JobView, event: Event) -> None:
        """Record an Event of a job; never waits, never fails."""
        ...


class ListReader(Protocol):
    """Receives every job of the complete list with which the index is filled at the start."""

    def begin(self) -> None:
        """Begin a list; one that was begun before has failed."""
        ...

    def look(self, job: JobView) -> None:
        """Receive a job, in the order of the list: by namespace and name. Never fails."""
        ...

    def end(self, *, is_complete: bool) -> None:
        """End the list; not complete: some namespaces could not be listed."""
        ...
