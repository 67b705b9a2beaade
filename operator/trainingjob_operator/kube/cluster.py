"""The calls of the Kubernetes API that the operator makes, and what each means: the interface.

What is not found is `None`; every other refusal is one of our errors. An answer that says nothing of an
object, because its kind is not served, is a `NotServedError`.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from trainingjob_api.constants import LABEL_JOB_NAME
from trainingjob_operator.core.job import JobKey, JobView

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list.

    Attributes:
        items: the objects, until the next page is asked for: then they are dropped, so that there
            is one page in memory at a time.
        resource_version: of the list as a whole, the same for all of its pages.
        next_token: the token of the next page; "" after the last one.
    """

    items: list[Object]
    resource_version: str = ""
    next_token: str = ""


class ServedState(StrEnum):
    """The API server's state of our kinds.

    SERVED: everything. PARTLY: there can be jobs, but a CustomResourceDefinition is being deleted,
    and waits for its objects to go, or that of RetentionPolicies is not there. ABSENT: there can be
    no jobs.
    """

    SERVED = "Served"
    PARTLY = "Partly"
    ABSENT = "Absent"


class Cluster(Protocol):
    """The calls; `kube.gateway` makes them.

    A list comes live and in pages, of one namespace or of all (None). It raises GoneError if it takes so
    long that its next page has expired: start again.
    """

    # --- jobs ---------------------------------------------------------------------------------

    async def get_job(self, key: JobKey) -> Object | None:
        """Read a TrainingJob, live."""
        ...

    def list_jobs(self, namespace: str | None) -> AsyncIterator[Page]:
        """List the TrainingJobs."""
        ...

    async def jobs_version(self, namespace: str | None) -> str:
        """Return the resourceVersion at which the jobs of a namespace are now; "" if none is said.

        It is the API server's own, and so grows with every change of anything.
        """
        ...

    async def patch_job_status(self, key: JobKey, patch: Object) -> Object | None:
        """Merge-patch the status of a TrainingJob; preconditions stand in the patch's metadata.

        Raises:
            ConflictError: the job has changed since, or is another one.
        """
        ...

    async def set_record_finalizer(self, job: JobView, *, present: bool) -> Object | None:
        """Put our finalizer on a job or take it off, if it is still the version that was seen.

        The others are not sent: there can be many, and their names are not remembered.

        Raises:
            ConflictError: the job has changed since.
            InvalidError: it is another one, or its finalizers have changed since.
        """
        ...

    async def jobs_by_record_state(
        self, namespace: str | None, state: str, *, limit: int, token: str
    ) -> Page:
        """Return one page of the jobs whose `status.recordState` is this.

        Args:
            namespace: None: all.
            state: the state.
            limit: jobs at most; fewer come where jobs are large.
            token: of the page before; "" for the first one.

        Raises:
            GoneError: the token has expired; begin anew.
        """
        ...

    async def delete_finished_job(self, job: JobView) -> bool:
        """Delete a job if it is still the version that was seen; its pods follow by themselves.

        Returns:
            True if it was there.

        Raises:
            ConflictError: the job has changed since, or is another one.
        """
        ...

    # --- policies -----------------------------------------------------------------------------

    async def get_policy(self, namespace: str) -> Object | None:
        """Read the RetentionPolicy of a namespace, live."""
        ...

    def list_policies(self, namespace: str | None) -> AsyncIterator[Page]:
        """List the RetentionPolicies."""
        ...

    async def create_policy(self, namespace: str) -> Object:
        """Create a RetentionPolicy with an empty spec.

        Raises:
            AlreadyExistsError: there is one.
        """
        ...

    async def patch_policy_status(self, namespace: str, patch: Object) -> Object | None:
        """Merge-patch a RetentionPolicy's status; preconditions stand in the patch's metadata.

        Raises:
            ConflictError: the policy has changed since, or is another one.
        """
        ...

    async def remove_finalizer(self, raw: Object, finalizer: str) -> None:
        """Take a finalizer off a job or a policy, if it is still the version that was seen.

        Raises:
            ConflictError: it has changed since, or is another one.
        """
        ...

    # --- pods ---------------------------------------------------------------------------------

    async def get_pod(self, namespace: str, name: str) -> Object | None:
        """Read a pod, live."""
        ...

    def list_pods(
        self, namespace: str | None, *, selector: str = LABEL_JOB_NAME
    ) -> AsyncIterator[Page]:
        """List the pods with these labels."""
        ...

    async def pods_version(self, namespace: str | None) -> str:
        """Return the resourceVersion at which the pods of a namespace are now; "" if none is said."""
        ...

    async def create_pod(self, manifest: Object) -> Object:
        """Create a pod.

        Raises:
            AlreadyExistsError: the name is taken; look whose it is.
            QuotaExceededError, ForbiddenError, InvalidError: refused, each in its way.
        """
        ...

    async def try_pod_template(self, manifest: Object) -> None:
        """Have the API server judge a PodTemplate by a dry run, which creates nothing.

        Raises:
            InvalidError, ForbiddenError: refused, each in its way.
        """
        ...

    async def delete_pod(
        self,
        namespace: str,
        name: str,
        *,
        uid: str,
        version: str | None = None,
        grace_s: int | None = None,
    ) -> None:
        """Delete this very pod; one that is gone already is fine.

        Args:
            namespace: the pod's namespace.
            name: its name.
            uid: its uid.
            version: the only resourceVersion of it that may be deleted; None: any.
            grace_s: grace period in seconds; None: the pod's own.

        Raises:
            ConflictError: the name belongs to another pod by now, or the pod has changed.
        """
        ...

    def pod_log(self, namespace: str, name: str, *, container: str) -> AsyncGenerator[bytes, None]:
        """Read what a container has written so far; see `kube.pod_logs`."""
        ...

    # --- namespaces, services and events ------------------------------------------------------

    async def get_namespace(self, name: str) -> Object | None:
        """Read a Namespace, live."""
        ...

    async def get_service(self, namespace: str, name: str) -> Object | None:
        """Read a Service, live."""
        ...

    async def create_service(self, manifest: Object) -> Object:
        """Create a Service.

        Raises:
            AlreadyExistsError: the name is taken; look whose it is.
        """
        ...

    async def create_event(self, manifest: Object) -> Object:
        """Create an Event."""
        ...

    # --- the API server itself ----------------------------------------------------------------

    async def served_state(self) -> ServedState:
        """Return what discovery says of both kinds.

        Every user may read discovery, so this needs no right to read CustomResourceDefinitions,
        which an operator of some namespaces does not have.
        """
        ...
