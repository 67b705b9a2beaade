"""Defines the interface (Protocol) of the Kubernetes API calls that the operator makes.

An object that is not found is `None`; every other error response raises one of our errors. A 404
because the kind itself is not served raises `NotServedError`: it does not tell whether objects exist.
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
    """A page of a list.

    Attributes:
        items: the objects. They are dropped when the next page is requested, so that only one page
            is in memory at a time.
        resource_version: resourceVersion of the whole list, the same for all of its pages.
        next_token: continue token of the next page; "" on the last one.
    """

    items: list[Object]
    resource_version: str = ""
    next_token: str = ""


class ServedState(StrEnum):
    """State of our kinds in the API server's discovery.

    SERVED: both kinds are served. PARTLY: jobs can exist, but a CustomResourceDefinition is being
    deleted and waits until its objects are deleted, or that of RetentionPolicies is missing.
    ABSENT: no jobs can exist.
    """

    SERVED = "Served"
    PARTLY = "Partly"
    ABSENT = "Absent"


class Cluster(Protocol):
    """The calls; `kube.gateway` implements them.

    "Live" means read from the API server, not from our index. Lists are live and paginated, of one
    namespace or of all (None). A list raises GoneError if it takes so long that its continue token
    expires; start it again.
    """

    # --- jobs ---------------------------------------------------------------------------------

    async def get_job(self, key: JobKey) -> Object | None:
        """Read a TrainingJob, live."""
        ...

    def list_jobs(self, namespace: str | None) -> AsyncIterator[Page]:
        """List the TrainingJobs."""
        ...

    async def jobs_version(self, namespace: str | None) -> str:
        """Return the current resourceVersion of the job list of a namespace; "" if there is none.

        The version is that of the whole store: it grows with every change of any object.
        """
        ...

    async def patch_job_status(self, key: JobKey, patch: Object) -> Object | None:
        """Merge-patch the status of a TrainingJob; preconditions are in the patch's metadata.

        Raises:
            ConflictError: the job has changed since, or was replaced by another one.
        """
        ...

    async def set_record_finalizer(self, job: JobView, *, present: bool) -> Object | None:
        """Add our finalizer to a job or remove it, if the job still has the version that was seen.

        Other finalizers are not sent: there can be many, and the index does not keep their names.

        Raises:
            ConflictError: the job has changed since.
            InvalidError: the job was replaced by another one, or its finalizers have changed since.
        """
        ...

    async def jobs_by_record_state(
        self, namespace: str | None, state: str, *, limit: int, token: str
    ) -> Page:
        """Return one page of the jobs with this `status.recordState`.

        Args:
            namespace: the namespace; None: all.
            state: the state to select.
            limit: maximum number of jobs; fewer are returned where jobs are large.
            token: `next_token` of the previous page; "" for the first one.

        Raises:
            GoneError: the token has expired; start with the first page.
        """
        ...

    async def delete_finished_job(self, job: JobView) -> bool:
        """Delete a job if it still has the version that was seen; Kubernetes then deletes its pods.

        Returns:
            True if the job existed.

        Raises:
            ConflictError: the job has changed since, or was replaced by another one.
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
            AlreadyExistsError: the namespace has one already.
        """
        ...

    async def patch_policy_status(self, namespace: str, patch: Object) -> Object | None:
        """Merge-patch a RetentionPolicy's status; preconditions are in the patch's metadata.

        Raises:
            ConflictError: the policy has changed since, or was replaced by another one.
        """
        ...

    async def remove_finalizer(self, raw: Object, finalizer: str) -> None:
        """Remove a finalizer from a job or a policy, if it still has the version that was seen.

        Raises:
            ConflictError: the object has changed since, or was replaced by another one.
        """
        ...

    # --- pods ---------------------------------------------------------------------------------

    async def get_pod(self, namespace: str, name: str) -> Object | None:
        """Read a pod, live."""
        ...

    def list_pods(
        self, namespace: str | None, *, selector: str = LABEL_JOB_NAME
    ) -> AsyncIterator[Page]:
        """List the pods that match a label selector."""
        ...

    async def pods_version(self, namespace: str | None) -> str:
        """Return the current resourceVersion of the pod list of a namespace; "" if there is none."""
        ...

    async def create_pod(self, manifest: Object) -> Object:
        """Create a pod.

        Raises:
            AlreadyExistsError: a pod of this name exists; check who owns it.
            QuotaExceededError, ForbiddenError, InvalidError: the pod was refused.
        """
        ...

    async def try_pod_template(self, manifest: Object) -> None:
        """Validate a PodTemplate by a server-side dry run, which creates nothing.

        Raises:
            InvalidError, ForbiddenError: the template was refused.
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
        """Delete the pod with this uid; do nothing if it is deleted already.

        Args:
            namespace: the pod's namespace.
            name: the pod's name.
            uid: the pod's uid.
            version: the resourceVersion that the pod must have; None: any.
            grace_s: grace period in seconds; None: the pod's own.

        Raises:
            ConflictError: another pod has this name now, or the pod has changed.
        """
        ...

    def pod_log(self, namespace: str, name: str, *, container: str) -> AsyncGenerator[bytes, None]:
        """Read the log of a container up to now; see `kube.pod_logs`."""
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
            AlreadyExistsError: a Service of this name exists; check who owns it.
        """
        ...

    async def create_event(self, manifest: Object) -> Object:
        """Create an Event."""
        ...

    # --- the API server itself ----------------------------------------------------------------

    async def served_state(self) -> ServedState:
        """Read from discovery which of our two kinds are served.

        Every user may read discovery. So this does not need the right to read
        CustomResourceDefinitions, which an operator of only some namespaces does not have.
        """
        ...
