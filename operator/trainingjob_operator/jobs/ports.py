"""The interfaces of the reconciler's neighbours, declared where they are used."""

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from trainingjob_operator.core.decision import Delivery, Event, LogOutcome, Survey
from trainingjob_operator.core.job import JobKey, JobStatus, JobView
from trainingjob_operator.core.pod import PodView


class Records(Protocol):
    """The way of a record to its endpoint; see `records.outbox` for the meaning."""

    @property
    def endpoint_is_down(self) -> bool: ...
    def offer(self, key: JobKey) -> None: ...
    def delivery_of(self, job: JobView) -> Delivery | None: ...
    def forget_delivery(self, key: JobKey) -> None: ...
    async def store_at_once(self, job: JobView, status: JobStatus) -> bool: ...


class Logs(Protocol):
    """The archive of the pods' logs; see `archiver` for the meaning."""

    @property
    def volume_error(self) -> str: ...
    def outcomes_of(self, job: JobView) -> Mapping[str, LogOutcome]: ...
    def request_logs(
        self, job: JobView, pods: Iterable[PodView], survey: Survey | None = None
    ) -> bool: ...
    def forget(self, job: JobView, present: Collection[str]) -> None: ...
    def forget_log_outcomes(self, uid: str) -> None: ...
    async def ensure_job_directory(self, job: JobView) -> bool: ...


class Recorder(Protocol):
    """The recorder of Events."""

    def record(self, job: JobView, event: Event) -> None:
        """Say something about a job; never waits, never fails."""
        ...


class ListReader(Protocol):
    """Takes in the complete list of jobs that fills the index at a start."""

    def begin(self) -> None:
        """Begin with a list; one that was begun before has failed."""
        ...

    def look(self, job: JobView) -> None:
        """Take in a job, in the order of the list: by namespace and name. Never fails."""
        ...

    def end(self, *, is_complete: bool) -> None:
        """Take note of the end; not complete: there are namespaces that could not be listed."""
        ...
