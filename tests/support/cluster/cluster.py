"""In-memory fake of `kube.gateway.Gateway`: the API server as the operator sees it.

Its objects keep what the protocol relies on (`tests.support.cluster.objects`), with preconditions, and
garbage collection by owner. The contract tests hold it equal to a real API server. Further methods
act as users and nodes.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final, Literal

from jsonpatch import JsonPatchException, apply_patch
from jsonpointer import JsonPointerException

from tests.support.cluster.objects import (
    Object,
    Objects,
    Request,
    controller_uid,
    copied,
    key_of,
    merged,
)
from trainingjob_api.constants import (
    KIND_TRAINING_JOB,
    LABEL_ATTEMPT,
    LABEL_INDEX,
    LABEL_JOB_NAME,
    POLICY_NAME,
)
from trainingjob_api.errors import (
    ConflictError,
    GoneError,
    InvalidError,
    QuotaExceededError,
)
from trainingjob_api.retention_policy import RetentionPolicyStatus
from trainingjob_api.training_job_status import TrainingJobStatus
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.core.untyped_json import time_text
from trainingjob_operator.kube.cluster import Cluster, Page, ServedState
from trainingjob_operator.kube.finalizers import (
    with_record_finalizer,
    without_finalizer,
    without_record_finalizer,
)

_COUNTED: Final = ("Pending", "Running")


class FakeCluster(Objects, Cluster):
    """The gateway's methods and errors on objects in memory.

    Attributes:
        events: those that were created.
        started: uids of the pods that have run.
        pod_quota: pods beyond this number are refused as a ResourceQuota does, which counts those
            that have not ended.
    """

    def __init__(
        self, clock: Clock | None = None, *, namespaces: tuple[str, ...] = ("ml", "ops")
    ) -> None:
        super().__init__(clock, namespaces=namespaces)
        self.events: list[Object] = []
        self.started: list[str] = []
        self.pod_quota = math.inf

    # --- the gateway's methods ----------------------------------------------------------------

    async def get_job(self, key: JobKey) -> Object | None:
        return await self._get("get_job", "jobs", key)

    def list_jobs(self, namespace: str | None) -> AsyncIterator[Page]:
        return self._pages("list_jobs", "jobs", namespace, "")

    async def patch_job_status(self, key: JobKey, patch: Object) -> Object | None:
        async with Request(self, "patch_job_status", key.name):
            job = self._objects["jobs"].get(key)
            if job is None:
                return None
            for name in ("uid", "resourceVersion"):
                wanted = patch.get("metadata", {}).get(name, job["metadata"][name])
                if wanted != job["metadata"][name]:
                    raise ConflictError(f"{name} is not {wanted}", status=409, reason="Conflict")
            status = merged(job.get("status", {}), patch.get("status", {}))
            try:
                TrainingJobStatus.model_validate(status)
            except ValueError as error:
                raise InvalidError(str(error), status=422, reason="Invalid") from error
            if status != job.get("status", {}):
                self._update("jobs", {**job, "status": status})
            found = self._objects["jobs"][key]
            self._note("patch_job_status", found, found)
            return copied(found)

    async def delete_finished_job(self, job: JobView) -> bool:
        async with Request(self, "delete_finished_job", job.key.name):
            found = self._objects["jobs"].get(job.key)
            if found is None:
                return False
            metadata = found["metadata"]
            if (metadata["uid"], metadata["resourceVersion"]) != (job.uid, job.resource_version):
                raise ConflictError("Precondition failed", status=409, reason="Conflict")
            self._note("delete_finished_job", found, found)
            self.delete_job(job.key.name, job.key.namespace)
            return True

    async def set_record_finalizer(self, job: JobView, *, present: bool) -> Object | None:
        async with Request(self, "set_record_finalizer", job.key.name):
            found = self._objects["jobs"].get(job.key)
            if found is None:
                return None
            metadata = found["metadata"]
            if metadata["uid"] != job.uid:
                raise InvalidError("testing /metadata/uid", status=422, reason="Invalid")
            change = with_record_finalizer(job) if present else without_record_finalizer(job)
            try:
                changed: Object = apply_patch(found, change)
            except (JsonPatchException, JsonPointerException) as error:
                raise InvalidError(str(error), status=422, reason="Invalid") from error
            if metadata["resourceVersion"] != job.resource_version:
                raise ConflictError("has been modified", status=409, reason="Conflict")
            self._note("set_record_finalizer", changed, changed)
            if changed["metadata"].get("finalizers") or "deletionTimestamp" not in metadata:
                self._update("jobs", changed)
                return self.job(job.key.name, job.key.namespace)
            self._remove_job(changed)
            return copied(changed)

    async def jobs_by_record_state(
        self, namespace: str | None, state: str, *, limit: int, token: str
    ) -> Page:
        async with Request(self, "jobs_by_record_state", namespace or ""):
            found = sorted(
                (key_of(job), job)
                for job in self.jobs()
                if job["metadata"]["namespace"] == (namespace or job["metadata"]["namespace"])
                and job.get("status", {}).get("recordState") == state
                and str(key_of(job)) > token
            )
            page = [copied(job) for _, job in found[:limit]]
            return Page(page, next_token=str(found[limit - 1][0]) if len(found) > limit else "")

    async def get_policy(self, namespace: str) -> Object | None:
        return await self._get("get_policy", "policies", JobKey(namespace, POLICY_NAME))

    def list_policies(self, namespace: str | None) -> AsyncIterator[Page]:
        return self._pages("list_policies", "policies", namespace, "")

    async def create_policy(self, namespace: str) -> Object:
        async with Request(self, "create_policy", namespace):
            return self.create_policy_as_user(namespace)

    async def patch_policy_status(self, namespace: str, patch: Object) -> Object | None:
        async with Request(self, "patch_policy_status", namespace):
            found = self._objects["policies"].get(JobKey(namespace, POLICY_NAME))
            if found is None:
                return None
            for name in ("uid", "resourceVersion"):
                if patch["metadata"][name] != found["metadata"][name]:
                    raise ConflictError(f"{name} is another one", status=409, reason="Conflict")
            status = merged(found["status"], patch["status"])
            RetentionPolicyStatus.model_validate(status)
            self._update("policies", {**found, "status": status})
            return self.policy(namespace)

    async def remove_finalizer(self, raw: Object, finalizer: str) -> None:
        method, metadata = "remove_finalizer", raw["metadata"]
        kind = "jobs" if raw["kind"] == KIND_TRAINING_JOB else "policies"
        async with Request(self, method, metadata["name"]):
            found = self._objects[kind].get(key_of(raw))
            if found is None:
                return
            if metadata["uid"] != found["metadata"]["uid"]:
                raise InvalidError("testing /metadata/uid", status=422, reason="Invalid")
            if metadata["resourceVersion"] != found["metadata"]["resourceVersion"]:
                raise ConflictError("has been modified", status=409, reason="Conflict")
            changed: Object = apply_patch(found, without_finalizer(metadata, finalizer))
            self._note(method, changed, changed)
            if changed["metadata"]["finalizers"] or "deletionTimestamp" not in metadata:
                self._update(kind, changed)
            elif kind == "jobs":
                self._remove_job(changed)
            else:
                self._remove(kind, changed)

    async def get_pod(self, namespace: str, name: str) -> Object | None:
        return await self._get("get_pod", "pods", JobKey(namespace, name))

    def list_pods(
        self, namespace: str | None, *, selector: str = LABEL_JOB_NAME
    ) -> AsyncIterator[Page]:
        return self._pages("list_pods", "pods", namespace, selector)

    async def jobs_version(self, namespace: str | None) -> str:
        async with Request(self, "jobs_version", namespace or ""):
            return str(self._version)

    async def pods_version(self, namespace: str | None) -> str:
        async with Request(self, "pods_version", namespace or ""):
            return str(self._version)

    async def create_pod(self, manifest: Object) -> Object:
        async with Request(self, "create_pod", manifest["metadata"]["name"]):
            if not manifest.get("spec", {}).get("containers"):
                raise InvalidError("spec.containers: Required value", status=422, reason="Invalid")
            if (
                key_of(manifest) not in self._objects["pods"]
                and sum(p["status"]["phase"] in _COUNTED for p in self.pods()) >= self.pod_quota
            ):
                raise QuotaExceededError("exceeded quota: pods", status=403, reason="Forbidden")
            return self._create("create_pod", "pods", manifest)

    async def try_pod_template(self, manifest: Object) -> None:
        async with Request(self, "try_pod_template", manifest["metadata"]["name"]):
            if not manifest["template"]["spec"].get("containers"):
                wrong = 'PodTemplate "x" is invalid: template.spec.containers: Required value'
                raise InvalidError(wrong, status=422, reason="Invalid")

    async def delete_pod(
        self,
        namespace: str,
        name: str,
        *,
        uid: str,
        version: str | None = None,
        grace_s: int | None = None,
    ) -> None:
        async with Request(self, "delete_pod", name):
            pod = self._objects["pods"].get(JobKey(namespace, name))
            if pod is None:
                return
            if pod["metadata"]["uid"] != uid:
                raise ConflictError("uid is another one", status=409, reason="Conflict")
            if version not in {None, pod["metadata"]["resourceVersion"]}:
                raise ConflictError("version is another one", status=409, reason="Conflict")
            self._note("delete_pod", pod, self._owner_of(pod))
            self._delete_pod(pod, grace_s)

    async def pod_log(
        self, namespace: str, name: str, *, container: str
    ) -> AsyncGenerator[bytes, None]:
        """Return two lines for each pod that has started, in two chunks."""
        async with Request(self, "pod_log", name):
            pod = self._objects["pods"].get(JobKey(namespace, name))
            if pod is None:
                raise GoneError(f'pods "{name}" not found', status=404, reason="NotFound")
            spec = pod["spec"]
            containers = spec.get("initContainers", []) + spec["containers"]
            if container not in [c["name"] for c in containers]:
                raise InvalidError(f"container {container} is not valid", status=400)
        yield f"{name} has ".encode()
        await asyncio.sleep(0)
        yield f"begun\n{pod['status']['phase']}\n".encode()

    async def get_namespace(self, name: str) -> Object | None:
        async with Request(self, "get_namespace", name):
            if name not in self._namespaces:
                return None
            return {"metadata": {"name": name, "uid": f"uid-of-{name}"}}

    async def get_service(self, namespace: str, name: str) -> Object | None:
        return await self._get("get_service", "services", JobKey(namespace, name))

    async def create_service(self, manifest: Object) -> Object:
        async with Request(self, "create_service", manifest["metadata"]["name"]):
            return self._create("create_service", "services", manifest)

    async def create_event(self, manifest: Object) -> Object:
        """Store an Event. It is no point for a crash, since nothing depends on Events."""
        await asyncio.sleep(0)
        self.events.append(manifest)
        return manifest

    def reasons(self, *, warnings: bool = False) -> list[str]:
        """Return the reasons of the Events, with or without the normal ones."""
        return [
            each["reason"] for each in self.events if not warnings or each["type"] == "Warning"
        ]

    async def served_state(self) -> ServedState:
        async with Request(self, "served_state", ""):
            return ServedState.SERVED

    # --- what users do, and what they see -----------------------------------------------------

    def job(self, name: str = "mnist", namespace: str = "ml") -> Object:
        """Return an existing job."""
        return copied(self._objects["jobs"][JobKey(namespace, name)])

    def status(self, name: str = "mnist") -> Object:
        """Return the status of an existing job."""
        found: Object = self.job(name).get("status", {})
        return found

    def pod(self, attempt: int = 0, index: int = 0, *, job: str = "mnist") -> Object:
        """Return the existing pod of a rank."""
        wanted = {LABEL_JOB_NAME: job, LABEL_ATTEMPT: str(attempt), LABEL_INDEX: str(index)}
        found = [p for p in self.pods() if wanted.items() <= p["metadata"]["labels"].items()]
        assert len(found) == 1, f"{len(found)} pods of {wanted}"
        return copied(found[0])

    def create_job(self, manifest: Object) -> Object:
        """Create a job, as a user."""
        return self._create("", "jobs", manifest)

    def edit_job(self, name: str = "mnist", **spec: Any) -> None:
        """Change fields of a job's spec, as a user; None removes one."""
        job = self.job(name)
        job["metadata"]["generation"] += 1
        job["spec"] = merged(job["spec"], spec)
        self._update("jobs", job)

    def delete_job(self, name: str = "mnist", namespace: str = "ml") -> None:
        """Delete a job, as a user; the garbage collector deletes its dependents."""
        job = self.job(name, namespace)
        if not job["metadata"].get("finalizers"):
            self._remove_job(job)
        elif "deletionTimestamp" not in job["metadata"]:
            job["metadata"]["deletionTimestamp"] = time_text(self.clock.now())
            self._update("jobs", job)

    def set_job_status(self, key: JobKey, status: Object) -> None:
        """Replace a job's whole status, which only the operator should do."""
        self._update("jobs", {**self.job(key.name, key.namespace), "status": status})

    def annotate_job(self, name: str = "mnist", **annotations: str) -> None:
        """Annotate a job, as a user; `_` in a keyword stands for characters that keywords cannot have."""
        job = self.job(name)
        job["metadata"].setdefault("annotations", {}).update(annotations)
        self._update("jobs", job)

    def _remove_job(self, job: Object) -> None:
        self._remove("jobs", job)
        uid = job["metadata"]["uid"]
        for pod in self.pods():
            if controller_uid(pod) == uid:
                self._delete_pod(pod, None)
        for service in tuple(self._objects["services"].values()):
            if controller_uid(service) == uid:
                self._remove("services", service)

    def policy(self, namespace: str = "ml") -> Object:
        """Return the existing policy of a namespace."""
        return copied(self._objects["policies"][JobKey(namespace, POLICY_NAME)])

    def create_policy_as_user(self, namespace: str = "ml", **spec: Any) -> Object:
        """Create a RetentionPolicy, as a user."""
        metadata = {"name": POLICY_NAME, "namespace": namespace}
        return self._create("", "policies", {"metadata": metadata, "spec": spec})

    def edit_policy(self, namespace: str = "ml", **spec: Any) -> None:
        """Change fields of a RetentionPolicy's spec, as a user; None removes one."""
        policy = self.policy(namespace)
        policy["metadata"]["generation"] += 1
        policy["spec"] = merged(policy["spec"], spec)
        self._update("policies", policy)

    def delete_policy(self, namespace: str = "ml") -> None:
        """Delete a RetentionPolicy, as a user."""
        self._remove("policies", self.policy(namespace))

    def create_foreign(self, kind: Literal["pods", "services"], manifest: Object) -> Object:
        """Create a pod or a Service that does not belong to the operator."""
        return self._create("", kind, manifest)

    # --- the scripted kubelet -----------------------------------------------------------------

    def refuse_to_schedule(self, pod: Object, message: str) -> None:
        """Mark the pod unschedulable, as the scheduler does."""
        said = {"reason": "Unschedulable", "message": message}
        self._set_pod(pod, extra=[{"type": "PodScheduled", "status": "False", **said}])

    def run_pod(self, pod: Object) -> None:
        """Bind the pod to a node, and make it running and ready."""
        self._set_pod(pod, node="node-1", phase="Running", ready=True)
        self.started.append(pod["metadata"]["uid"])

    def finish_pod(self, pod: Object, exit_code: int = 0) -> None:
        """Terminate the pod's container."""
        ended = {"exitCode": exit_code, "finishedAt": time_text(self.clock.now())}
        self._set_pod(
            pod,
            phase="Failed" if exit_code else "Succeeded",
            containerStatuses=[{"name": "trainer", "state": {"terminated": ended}}],
        )

    def fail_init_container(self, pod: Object, name: str, exit_code: int) -> None:
        """Fail one of the pod's init containers; none of its main containers starts."""
        ended = {"exitCode": exit_code, "finishedAt": time_text(self.clock.now())}
        self._set_pod(
            pod,
            node="node-1",
            phase="Failed",
            initContainerStatuses=[{"name": name, "state": {"terminated": ended}}],
            containerStatuses=[
                {"name": c["name"], "state": {"waiting": {"reason": "PodInitializing"}}}
                for c in pod["spec"]["containers"]
            ],
        )

    def evict_pod(self, pod: Object) -> None:
        """Evict the pod; its object remains."""
        now = time_text(self.clock.now())
        target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
        self._set_pod(pod, phase="Failed", extra=[{**target, "lastTransitionTime": now}])

    def lose_pod(self, pod: Object) -> None:
        """Remove the pod at once, as a forced deletion does."""
        self._remove("pods", self._objects["pods"][key_of(pod)])

    def delete_pod_as_user(self, pod: Object) -> None:
        """Delete the pod as a user, with its grace period if it runs."""
        self._delete_pod(self._objects["pods"][key_of(pod)], None)

    def reap(self) -> None:
        """Terminate and remove all pods that are being deleted, as their kubelets do."""
        for pod in self.pods():
            if "deletionTimestamp" in pod["metadata"]:
                self.finish_pod(pod, exit_code=143)
                self.lose_pod(pod)

    def _set_pod(
        self,
        pod: Object,
        *,
        node: str | None = None,
        ready: bool = False,
        extra: list[Object] | None = None,
        **status: Any,
    ) -> None:
        known = self._objects["pods"][key_of(pod)]
        spec = known["spec"] | ({"nodeName": node} if node else {})
        conditions = [{"type": "Ready", "status": str(ready)}, *(extra or [])]
        status = {**known["status"], **status, "conditions": conditions}
        self._update("pods", {**known, "spec": spec, "status": status})
