"""What housekeeping needs of its neighbours, declared where it is used."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Protocol

from trainingjob_operator.core.decision import Event
from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.core.retention import Inherited
from trainingjob_operator.volume.sweep.rules import LiveJobs, VolumeReport

Object = dict[str, Any]


class PageOfObjects(Protocol):
    """A part of a list, and the resourceVersion of the whole."""

    @property
    def items(self) -> list[Object]:
        """The objects."""
        ...

    @property
    def resource_version(self) -> str:
        """The version of the whole list."""
        ...


class Jobs(Protocol):
    """The calls of the Kubernetes API that deleting jobs takes; see `kube.gateway`."""

    async def get_job(self, key: JobKey) -> Object | None: ...
    async def delete_finished_job(self, job: JobView) -> bool: ...
    def list_jobs(self, namespace: str | None) -> AsyncIterator[PageOfObjects]: ...


class PoliciesApi(Protocol):
    """The calls that keeping the policies takes; see `kube.gateway`."""

    def list_policies(self, namespace: str | None) -> AsyncIterator[PageOfObjects]: ...
    async def create_policy(self, namespace: str) -> Object: ...


class PolicyStatus(Protocol):
    """The calls that telling how it went takes; see `kube.gateway`."""

    async def get_policy(self, namespace: str) -> Object | None: ...
    async def patch_policy_status(self, namespace: str, patch: Object) -> Object | None: ...


class VolumeSweep(Protocol):
    """One sweep of the log volume; see `volume.sweep`."""

    async def run(self, live: LiveJobs, *, max_age_s: float) -> VolumeReport: ...


class Counts(Protocol):
    """Where numbers go; see `metrics.GcMetrics`."""

    def jobs_swept(
        self,
        *,
        skipped: Mapping[str, int],
        errors: int,
        seconds: float,
        at: datetime,
    ) -> None: ...
    def volume_left_alone(self, reason: str) -> None: ...
    def volume_swept(self, report: VolumeReport, *, seconds: float, at: datetime) -> None: ...


class Policies(Protocol):
    """Who rules which namespace; see `retention.policy_book`."""

    def inherited_by(self, namespace: str) -> Inherited | None: ...
    def ruler_of(self, namespace: str) -> str: ...


class Recorder(Protocol):
    """Where events go."""

    def record(self, job: JobView, event: Event) -> None: ...
