"""What the reconciler needs of its neighbours, declared where it is used."""

from collections.abc import AsyncIterator
from typing import Any, Protocol

from trainingjob_operator.core.decision import Event
from trainingjob_operator.core.job import JobKey, JobView

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


class Cluster(Protocol):
    """The calls of the Kubernetes API that jobs need; see `kube.gateway` for their meaning."""

    async def get_job(self, key: JobKey) -> Object | None: ...
    def list_jobs(self, namespace: str | None) -> AsyncIterator[PageOfObjects]: ...
    async def patch_job_status(self, key: JobKey, patch: Object) -> Object | None: ...
    async def get_pod(self, namespace: str, name: str) -> Object | None: ...
    def list_pods(
        self, namespace: str | None, *, selector: str = ...
    ) -> AsyncIterator[PageOfObjects]: ...
    async def create_pod(self, manifest: Object) -> Object: ...
    async def delete_pod(
        self, namespace: str, name: str, *, uid: str, grace_s: int | None = None
    ) -> None: ...
    async def get_service(self, namespace: str, name: str) -> Object | None: ...
    async def create_service(self, manifest: Object) -> Object: ...


class Recorder(Protocol):
    """Where events go."""

    def record(self, job: JobView, event: Event) -> None:
        """Say something about a job; never waits, never fails."""
        ...
