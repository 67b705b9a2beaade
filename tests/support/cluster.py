"""An in-memory twin of `kube.gateway.Gateway`: the API server as the operator meets it.

It keeps what the protocol relies on (uids, one counter of resource versions, preconditions,
graceful deletion, pages of one moment, garbage collection by owner) and tells what it was asked
for. The contract tests hold it equal to a real API server.

It is also where faults are staged: an error in place of an answer or after the effect, a change
just before a call takes effect, the death of the caller at any call, news that come late, twice
or never. Beside it a scripted kubelet, and the operator without kopf, in a time that leaps over
every wait: a minute of back-off costs a test nothing.
"""

import asyncio
import copy
import functools
import math
import re
import selectors
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, ParamSpec, Protocol, Self

from trainingjob_operator.api import RetentionPolicyStatus, TrainingJobStatus
from trainingjob_operator.clock import Clock
from trainingjob_operator.constants import (
    FINALIZER_RECORD,
    LABEL_ATTEMPT,
    LABEL_INDEX,
    LABEL_JOB_NAME,
    POLICY_NAME,
)
from trainingjob_operator.core.decision import Event, Policy
from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.core.rawread import time_text
from trainingjob_operator.errors import (
    AlreadyExistsError,
    ConflictError,
    GoneError,
    InvalidError,
    KubernetesError,
    QuotaExceededError,
    UnavailableError,
)
from trainingjob_operator.gc.clock_guard import ClockGuard
from trainingjob_operator.gc.jobs.remover import Remover
from trainingjob_operator.gc.policy_watch import PolicyWatch
from trainingjob_operator.kube.gateway import JobsPage, Page
from trainingjob_operator.persistence.carrier import Carrier
from trainingjob_operator.persistence.nowhere import Nowhere
from trainingjob_operator.persistence.outbox import Writer
from trainingjob_operator.reconciler.archiver import Archiver, NoArchive
from trainingjob_operator.reconciler.intake import Intake
from trainingjob_operator.reconciler.ports import LogShelf, Recorder
from trainingjob_operator.reconciler.reconciler import Reconciler
from trainingjob_operator.reconciler.resync import Resync, Scope
from trainingjob_operator.reconciler.work_queue import WorkQueue
from trainingjob_operator.reconciler.workers import Workers
from trainingjob_operator.settings import PersistSettings
from trainingjob_operator.stores.job_index import JobIndex
from trainingjob_operator.stores.manifest_cache import ManifestCache
from trainingjob_operator.stores.policies import PolicyBook

P = ParamSpec("P")
Object = dict[str, Any]
When = Literal["before", "after"]

DEFAULT_GRACE_S: Final = 30
OPERATOR_NAMESPACE: Final = "ops"
_TERMINAL: Final = {"Succeeded", "Failed"}
_DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Crash(BaseException):
    """The operator's process is dead. Not an Exception: nothing of the operator may catch it."""


class Call(NamedTuple):
    """One request, in the order in which they took effect."""

    method: str
    name: str


@dataclass(frozen=True)
class Effect:
    """One thing that the operator changed, and the job at that moment."""

    method: str
    object: Object
    job: Object

    @property
    def job_status(self) -> Object:
        """What the job's status said."""
        found: Object = self.job.get("status", {})
        return found

    @property
    def is_claimed(self) -> bool:
        """Whether the job carried the finalizer of its record."""
        return FINALIZER_RECORD in self.job.get("metadata", {}).get("finalizers", [])

    @property
    def is_deleted(self) -> bool:
        """Whether the job's deletion was requested."""
        return "deletionTimestamp" in self.job.get("metadata", {})


class Sink(Protocol):
    """Where watch events go: the intake."""

    def job_event(self, kind: str | None, raw: Object) -> None: ...
    def pod_event(self, kind: str | None, raw: Object) -> None: ...


@dataclass
class Watch:
    """One watch's stream of events, in order; held back, it delivers when it is released."""

    held: bool = False
    pending: list[tuple[str | None, Object]] = field(default_factory=list)
    deliver: Callable[[str | None, Object], None] | None = None

    def emit(self, kind: str | None, raw: Object) -> None:
        """Something happened; the watcher hears of it in a moment, or when it is released."""
        if self.deliver is None:
            return
        self.pending.append((kind, copy.deepcopy(raw)))
        if not self.held:
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Deliver what is pending, unless it is held back."""
        while self.pending and not self.held and self.deliver is not None:
            self.deliver(*self.pending.pop(0))

    def hold(self) -> None:
        """Deliver nothing from now on."""
        self.held = True

    def release(self) -> None:
        """Deliver what was held back, in order, now."""
        self.held = False
        self.flush()

    def duplicate(self) -> None:
        """What is held back comes twice."""
        self.pending = [event for event in self.pending for _ in range(2)]

    def drop(self) -> None:
        """What is held back never comes."""
        self.pending.clear()


@dataclass
class _Fault:
    error: KubernetesError
    times: float
    after: bool


class FakeCluster:
    """The gateway's methods and errors on objects in memory.

    Attributes:
        calls: every request of the operator, reads and refused ones included.
        effects: what the operator's requests created, deleted and wrote.
        before: functions to call once, just before the next call of a method takes effect.
        page_size: objects in a page of a list.
        pod_quota: pods beyond this number are refused as a ResourceQuota does.
    """

    def __init__(self, clock: Clock, *, namespaces: tuple[str, ...] = ("ml", "ops")) -> None:
        self.clock: Final = clock
        self.calls: list[Call] = []
        self.effects: list[Effect] = []
        self.events: list[Object] = []
        self.before: dict[str, Callable[[], object]] = {}
        self.job_watch: Final = Watch()
        self.pod_watch: Final = Watch()
        self.policy_watch: Final = Watch()
        self.page_size = 500
        self.started: list[str] = []
        self.pod_quota = math.inf
        self._namespaces: Final = set(namespaces)
        self._objects: Final[dict[str, dict[JobKey, Object]]] = defaultdict(dict)
        self._version = 100
        self._uids = 0
        self._faults: Final[defaultdict[str, list[_Fault]]] = defaultdict(list)
        self._crash: tuple[int, When] | None = None
        self._is_dead = False

    # --- the gateway's methods ----------------------------------------------------------------

    async def get_job(self, key: JobKey) -> Object | None:
        return await self._get("get_job", "jobs", key)

    def list_jobs(self, namespace: str | None) -> AsyncIterator[Page]:
        return self._pages("list_jobs", "jobs", namespace, "")

    async def patch_job_status(self, key: JobKey, patch: Object) -> Object | None:
        async with _Request(self, "patch_job_status", key.name):
            job = self._objects["jobs"].get(key)
            if job is None:
                return None
            for name in ("uid", "resourceVersion"):
                wanted = patch.get("metadata", {}).get(name, job["metadata"][name])
                if wanted != job["metadata"][name]:
                    raise ConflictError(f"{name} is not {wanted}", status=409, reason="Conflict")
            status = _merged(job.get("status", {}), patch.get("status", {}))
            try:
                TrainingJobStatus.model_validate(status)
            except ValueError as error:
                raise InvalidError(str(error), status=422, reason="Invalid") from error
            if status != job.get("status", {}):
                self._update("jobs", {**job, "status": status})
            found = self._objects["jobs"][key]
            self._note("patch_job_status", found, found)
            return copy.deepcopy(found)

    async def delete_finished_job(self, job: JobView) -> bool:
        async with _Request(self, "delete_finished_job", job.key.name):
            found = self._objects["jobs"].get(job.key)
            if found is None:
                return False
            metadata = found["metadata"]
            if (metadata["uid"], metadata["resourceVersion"]) != (job.uid, job.resource_version):
                raise ConflictError("Precondition failed", status=409, reason="Conflict")
            self._note("delete_finished_job", found, found)
            self.delete_job(job.key.name, job.key.namespace)
            return True

    async def set_finalizers(self, job: JobView, finalizers: Sequence[str]) -> Object | None:
        async with _Request(self, "set_finalizers", job.key.name):
            found = self._objects["jobs"].get(job.key)
            if found is None:
                return None
            metadata = found["metadata"]
            if metadata["uid"] != job.uid:
                raise InvalidError("testing /metadata/uid", status=422, reason="Invalid")
            if metadata["resourceVersion"] != job.resource_version:
                raise ConflictError("has been modified", status=409, reason="Conflict")
            found = {**found, "metadata": {**metadata, "finalizers": list(finalizers)}}
            self._note("set_finalizers", found, found)
            if finalizers or "deletionTimestamp" not in metadata:
                self._update("jobs", found)
                return self.job(job.key.name, job.key.namespace)
            self._remove_job(found)
            return copy.deepcopy(found)

    async def jobs_by_record_state(
        self, namespace: str | None, state: str, *, limit: int, token: str
    ) -> JobsPage:
        async with _Request(self, "jobs_by_record_state", ""):
            found = sorted(
                (_key(job), job)
                for job in self.jobs()
                if job["metadata"]["namespace"] == (namespace or job["metadata"]["namespace"])
                and job.get("status", {}).get("recordState") == state
                and str(_key(job)) > token
            )
            page = [copy.deepcopy(job) for _, job in found[:limit]]
            return JobsPage(page, str(found[limit - 1][0]) if len(found) > limit else "")

    async def get_policy(self, namespace: str) -> Object | None:
        return await self._get("get_policy", "policies", JobKey(namespace, POLICY_NAME))

    def list_policies(self, namespace: str | None) -> AsyncIterator[Page]:
        return self._pages("list_policies", "policies", namespace, "")

    async def create_policy(self, namespace: str) -> Object:
        async with _Request(self, "create_policy", namespace):
            return self.create_policy_as_user(namespace)

    async def patch_policy_status(self, namespace: str, patch: Object) -> Object | None:
        async with _Request(self, "patch_policy_status", namespace):
            found = self._objects["policies"].get(JobKey(namespace, POLICY_NAME))
            if found is None:
                return None
            for name in ("uid", "resourceVersion"):
                if patch["metadata"][name] != found["metadata"][name]:
                    raise ConflictError(f"{name} is another one", status=409, reason="Conflict")
            status = _merged(found["status"], patch["status"])
            RetentionPolicyStatus.model_validate(status)
            self._update("policies", {**found, "status": status})
            return self.policy(namespace)

    async def get_pod(self, namespace: str, name: str) -> Object | None:
        return await self._get("get_pod", "pods", JobKey(namespace, name))

    def list_pods(
        self, namespace: str | None, *, selector: str = LABEL_JOB_NAME
    ) -> AsyncIterator[Page]:
        return self._pages("list_pods", "pods", namespace, selector)

    async def create_pod(self, manifest: Object) -> Object:
        async with _Request(self, "create_pod", manifest["metadata"]["name"]):
            if not manifest.get("spec", {}).get("containers"):
                raise InvalidError("spec.containers: Required value", status=422, reason="Invalid")
            if _key(manifest) not in self._objects["pods"] and len(self.pods()) >= self.pod_quota:
                raise QuotaExceededError("exceeded quota: pods", status=403, reason="Forbidden")
            return self._create("create_pod", "pods", manifest)

    async def delete_pod(
        self, namespace: str, name: str, *, uid: str, grace_s: int | None = None
    ) -> None:
        async with _Request(self, "delete_pod", name):
            pod = self._objects["pods"].get(JobKey(namespace, name))
            if pod is None:
                return
            if pod["metadata"]["uid"] != uid:
                raise ConflictError("uid is another one", status=409, reason="Conflict")
            self._note("delete_pod", pod, self._owner_of(pod))
            self._delete_pod(pod, grace_s)

    async def pod_log(
        self, namespace: str, name: str, *, container: str
    ) -> AsyncGenerator[bytes, None]:
        """Two lines for each pod that has started, in two parts."""
        async with _Request(self, "pod_log", name):
            pod = self._objects["pods"].get(JobKey(namespace, name))
            if pod is None:
                raise GoneError(f'pods "{name}" not found', status=404, reason="NotFound")
            if container not in [c["name"] for c in pod["spec"]["containers"]]:
                raise InvalidError(f"container {container} is not valid", status=400)
        yield f"{name} has ".encode()
        await asyncio.sleep(0)
        yield f"begun\n{pod['status']['phase']}\n".encode()

    async def get_service(self, namespace: str, name: str) -> Object | None:
        return await self._get("get_service", "services", JobKey(namespace, name))

    async def create_service(self, manifest: Object) -> Object:
        async with _Request(self, "create_service", manifest["metadata"]["name"]):
            return self._create("create_service", "services", manifest)

    async def create_event(self, manifest: Object) -> Object:
        async with _Request(self, "create_event", manifest["metadata"]["name"]):
            self.events.append(manifest)
            return manifest

    # --- staging ------------------------------------------------------------------------------

    def fail_next(
        self, method: str, error: KubernetesError, *, times: float = 1, after: bool = False
    ) -> None:
        """Raise this error on the next calls of a method; `after` they have taken effect."""
        self._faults[method].append(_Fault(error, times, after))

    def crash_at(self, call: int, when: When) -> None:
        """Kill the caller at its call of this number, counted from 0."""
        self._crash = (call, when)

    @property
    def has_crashed(self) -> bool:
        """Whether the caller is dead. What is left of it gets nothing done any more."""
        return self._is_dead

    def revive(self) -> None:
        """Let a new process call; the watches of the old one are closed."""
        self._crash, self._is_dead = None, False
        self.disconnect()

    def connect(self, sink: Sink) -> None:
        """Open both watches: first what is there (with no kind), then what happens."""
        self.job_watch.deliver, self.pod_watch.deliver = sink.job_event, sink.pod_event
        for job in self.jobs():
            self.job_watch.emit(None, job)
        for pod in self.pods():
            self.pod_watch.emit(None, pod)

    def disconnect(self) -> None:
        """Close both watches."""
        for watch in (self.job_watch, self.pod_watch, self.policy_watch):
            watch.deliver, watch.held = None, False
            watch.drop()

    # --- what users do, and what they see -----------------------------------------------------

    def jobs(self) -> list[Object]:
        """All jobs."""
        return list(self._objects["jobs"].values())

    def pods(self) -> list[Object]:
        """All pods."""
        return list(self._objects["pods"].values())

    def job(self, name: str = "mnist", namespace: str = "ml") -> Object:
        """A job that is there."""
        return copy.deepcopy(self._objects["jobs"][JobKey(namespace, name)])

    def status(self, name: str = "mnist") -> Object:
        """The status of a job that is there."""
        found: Object = self.job(name).get("status", {})
        return found

    def pod(self, attempt: int = 0, index: int = 0, *, job: str = "mnist") -> Object:
        """The pod of a rank, which is there."""
        wanted = {LABEL_JOB_NAME: job, LABEL_ATTEMPT: str(attempt), LABEL_INDEX: str(index)}
        found = [p for p in self.pods() if wanted.items() <= p["metadata"]["labels"].items()]
        assert len(found) == 1, f"{len(found)} pods of {wanted}"
        return copy.deepcopy(found[0])

    def create_job(self, manifest: Object) -> Object:
        """A user applies a job."""
        return self._create("", "jobs", manifest)

    def edit_job(self, name: str = "mnist", **spec: Any) -> None:
        """A user changes fields of a job's spec; None removes one."""
        job = self.job(name)
        job["metadata"]["generation"] += 1
        job["spec"] = _merged(job["spec"], spec)
        self._update("jobs", job)

    def delete_job(self, name: str = "mnist", namespace: str = "ml") -> None:
        """A user deletes a job; the garbage collector follows."""
        job = self.job(name, namespace)
        if not job["metadata"].get("finalizers"):
            self._remove_job(job)
        elif "deletionTimestamp" not in job["metadata"]:
            job["metadata"]["deletionTimestamp"] = time_text(self.clock.now())
            self._update("jobs", job)

    def set_job_status(self, key: JobKey, status: Object) -> None:
        """Somebody writes a job's whole status, as nobody but the operator should."""
        self._update("jobs", {**self.job(key.name, key.namespace), "status": status})

    def annotate_job(self, name: str = "mnist", **annotations: str) -> None:
        """A user annotates a job; `_` stands for what no keyword can hold."""
        job = self.job(name)
        job["metadata"].setdefault("annotations", {}).update(annotations)
        self._update("jobs", job)

    def _remove_job(self, job: Object) -> None:
        self._remove("jobs", job)
        uid = job["metadata"]["uid"]
        for pod in self.pods():
            if _controller_uid(pod) == uid:
                self._delete_pod(pod, None)
        for service in tuple(self._objects["services"].values()):
            if _controller_uid(service) == uid:
                self._remove("services", service)

    def policy(self, namespace: str = "ml") -> Object:
        """The policy of a namespace, which is there."""
        return copy.deepcopy(self._objects["policies"][JobKey(namespace, POLICY_NAME)])

    def create_policy_as_user(self, namespace: str = "ml", **spec: Any) -> Object:
        """A user applies a RetentionPolicy."""
        metadata = {"name": POLICY_NAME, "namespace": namespace}
        return self._create("", "policies", {"metadata": metadata, "spec": spec})

    def edit_policy(self, namespace: str = "ml", **spec: Any) -> None:
        """A user changes fields of a RetentionPolicy's spec; None removes one."""
        policy = self.policy(namespace)
        policy["metadata"]["generation"] += 1
        policy["spec"] = _merged(policy["spec"], spec)
        self._update("policies", policy)

    def delete_policy(self, namespace: str = "ml") -> None:
        """A user deletes a RetentionPolicy."""
        self._remove("policies", self.policy(namespace))

    def create_foreign(self, kind: Literal["pods", "services"], manifest: Object) -> Object:
        """Somebody else creates a pod or a Service."""
        return self._create("", kind, manifest)

    # --- the scripted kubelet -----------------------------------------------------------------

    def refuse_to_schedule(self, pod: Object, message: str) -> None:
        """The scheduler finds no node for the pod."""
        said = {"reason": "Unschedulable", "message": message}
        self._set_pod(pod, extra=[{"type": "PodScheduled", "status": "False", **said}])

    def run_pod(self, pod: Object) -> None:
        """The pod is bound to a node, runs and is ready."""
        self._set_pod(pod, node="node-1", phase="Running", ready=True)
        self.started.append(pod["metadata"]["uid"])

    def finish_pod(self, pod: Object, exit_code: int = 0) -> None:
        """The pod's container has ended."""
        ended = {"exitCode": exit_code, "finishedAt": time_text(self.clock.now())}
        self._set_pod(
            pod,
            phase="Failed" if exit_code else "Succeeded",
            containerStatuses=[{"name": "trainer", "state": {"terminated": ended}}],
        )

    def evict_pod(self, pod: Object) -> None:
        """The pod was taken away by the cluster, and its object is still there."""
        now = time_text(self.clock.now())
        target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
        self._set_pod(pod, phase="Failed", extra=[{**target, "lastTransitionTime": now}])

    def lose_pod(self, pod: Object) -> None:
        """The pod is gone without a trace: a forced deletion."""
        self._remove("pods", self._objects["pods"][_key(pod)])

    def delete_pod_as_user(self, pod: Object) -> None:
        """A user deletes the pod; what runs is given its grace period."""
        self._delete_pod(self._objects["pods"][_key(pod)], None)

    def reap(self) -> None:
        """Every node ends the pods that are being deleted, and then lets go of them."""
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
        known = self._objects["pods"][_key(pod)]
        spec = known["spec"] | ({"nodeName": node} if node else {})
        conditions = [{"type": "Ready", "status": str(ready)}, *(extra or [])]
        status = {**known["status"], **status, "conditions": conditions}
        self._update("pods", {**known, "spec": spec, "status": status})

    # --- storage ------------------------------------------------------------------------------

    async def _get(self, method: str, kind: str, key: JobKey) -> Object | None:
        async with _Request(self, method, key.name):
            return copy.deepcopy(self._objects[kind].get(key))

    async def _pages(
        self, method: str, kind: str, namespace: str | None, selector: str
    ) -> AsyncIterator[Page]:
        found: list[Object] | None = None
        start, version = 0, ""
        while found is None or start < len(found):
            async with _Request(self, method, namespace or ""):
                if found is None:  # all pages are of one moment
                    version = str(self._version)
                    found = [copy.deepcopy(raw) for raw in self._select(kind, namespace, selector)]
            yield Page(found[start : start + self.page_size], version)
            start += self.page_size

    def _select(self, kind: str, namespace: str | None, selector: str) -> Iterator[Object]:
        for key, raw in sorted(self._objects[kind].items()):
            labels = raw["metadata"].get("labels", {})
            if namespace in {None, key.namespace} and _matches(selector, labels):
                yield raw

    def _create(self, method: str, kind: str, manifest: Object) -> Object:
        key = _key(manifest)
        if key.namespace not in self._namespaces:
            raise UnavailableError(f"404: no namespace {key.namespace}", status=404)
        if not _DNS_LABEL.fullmatch(key.name):
            raise InvalidError("metadata.name: Invalid value", status=422, reason="Invalid")
        if key in self._objects[kind]:
            raise AlreadyExistsError(f"{key.name} exists", status=409, reason="AlreadyExists")
        self._uids += 1
        raw = copy.deepcopy(manifest)
        raw["metadata"] |= {
            "uid": f"{self._uids:08x}-0000-4000-8000-000000000000",
            "creationTimestamp": time_text(self.clock.now()),
            "generation": 1,
        }
        raw["status"] = {"phase": "Pending"} if kind == "pods" else {}
        self._store(kind, raw, "ADDED")
        if method:
            self._note(method, raw, self._owner_of(raw))
        return copy.deepcopy(raw)

    def _update(self, kind: str, raw: Object) -> None:
        self._store(kind, copy.deepcopy(raw), "MODIFIED")

    def _store(self, kind: str, raw: Object, event: str) -> None:
        self._version += 1
        raw["metadata"]["resourceVersion"] = str(self._version)
        self._objects[kind][_key(raw)] = raw
        self._emit(kind, event, raw)

    def _remove(self, kind: str, raw: Object) -> None:
        gone = self._objects[kind].pop(_key(raw))
        self._version += 1
        gone["metadata"]["resourceVersion"] = str(self._version)
        self._emit(kind, "DELETED", gone)

    def _emit(self, kind: str, event: str, raw: Object) -> None:
        if kind == "jobs":
            self.job_watch.emit(event, raw)
        elif kind == "policies":
            self.policy_watch.emit(event, raw)
        elif kind == "pods" and LABEL_JOB_NAME in raw["metadata"].get("labels", {}):
            self.pod_watch.emit(event, raw)

    def _delete_pod(self, pod: Object, grace_s: int | None) -> None:
        """At once what runs nowhere, gracefully what does; a second request can only hasten it."""
        asked = pod["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE_S)
        grace = asked if grace_s is None else grace_s
        metadata = pod["metadata"]
        is_bound = "nodeName" in pod["spec"] and pod["status"]["phase"] not in _TERMINAL
        if not is_bound or grace == 0:
            self._remove("pods", pod)
        elif grace < metadata.get("deletionGracePeriodSeconds", math.inf):
            ends = time_text(self.clock.now() + timedelta(seconds=grace))
            stop = {"deletionTimestamp": ends, "deletionGracePeriodSeconds": grace}
            self._update("pods", {**pod, "metadata": {**metadata, **stop}})

    def _owner_of(self, raw: Object) -> Object:
        uid = _controller_uid(raw)
        return next((job for job in self.jobs() if job["metadata"]["uid"] == uid), {})

    def _note(self, method: str, raw: Object, job: Object) -> None:
        self.effects.append(Effect(method, copy.deepcopy(raw), copy.deepcopy(job)))

    def _take_fault(self, method: str, *, after: bool) -> KubernetesError | None:
        fault = next((f for f in self._faults[method] if f.after is after), None)
        if fault is None:
            return None
        fault.times -= 1
        if fault.times <= 0:
            self._faults[method].remove(fault)
        return fault.error


class _Request:
    """The way of one request: there, where it may be refused, and back, where it may be lost."""

    def __init__(self, cluster: FakeCluster, method: str, name: str) -> None:
        self._cluster: Final = cluster
        self._call: Final = Call(method, name)
        self._dies: When | None = None

    async def __aenter__(self) -> None:
        await asyncio.sleep(0)  # others get their turn, as over a network
        cluster, method = self._cluster, self._call.method
        if cluster._is_dead:
            raise Crash
        if cluster._crash is not None and cluster._crash[0] == len(cluster.calls):
            self._dies = cluster._crash[1]
        cluster.calls.append(self._call)
        self._die("before")
        if (interlude := cluster.before.pop(method, None)) is not None:
            interlude()
        if (error := cluster._take_fault(method, after=False)) is not None:
            raise error

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        self._die("after")
        if kind is not None:
            return
        if (lost := self._cluster._take_fault(self._call.method, after=True)) is not None:
            raise lost
        await asyncio.sleep(0)  # the watch can be faster than the answer
        if self._cluster._is_dead:
            raise Crash

    def _die(self, when: When) -> None:
        if self._dies == when:
            self._cluster._is_dead = True
            raise Crash


def _key(raw: Object) -> JobKey:
    return JobKey(raw["metadata"]["namespace"], raw["metadata"]["name"])


def _controller_uid(raw: Object) -> str:
    references = raw["metadata"].get("ownerReferences", [])
    return next((r["uid"] for r in references if r.get("controller")), "")


def _matches(selector: str, labels: dict[str, str]) -> bool:
    terms = [term.partition("=") for term in selector.split(",") if term]
    return all(
        labels.get(name) == value if equals else name in labels for name, equals, value in terms
    )


def _merged(old: Object, patch: Object) -> Object:
    """JSON merge patch, RFC 7396."""
    merged = {name: value for name, value in old.items() if patch.get(name, value) is not None}
    for name, value in patch.items():
        if isinstance(value, dict):
            merged[name] = _merged(old[name] if isinstance(old.get(name), dict) else {}, value)
        elif value is not None:
            merged[name] = copy.deepcopy(value)
    return merged


# --- the operator without kopf, in leaping time -------------------------------------------------


class _LeapingSelector(selectors.SelectSelector):
    """Waits for nothing: when all there is to do is later, later is now."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("deadlock: nothing is left that could ever happen")
        self.now += max(timeout, 0.0)
        return super().select(0)


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time leaps to the next timer when nothing else is to be done."""

    def __init__(self) -> None:
        self._leaping: Final = _LeapingSelector()
        super().__init__(self._leaping)
        # Beyond half a year a float cannot tell a nanosecond, and what is due would never be due.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._leaping.now


def leaping_time(
    test: Callable[P, Coroutine[Any, Any, None]],
) -> Callable[P, None]:
    """Run an async test on a leaping loop: `asyncio.sleep(60)` is an hour-glass turned over."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=LeapingLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


class LoopClock:
    """The running loop's time, as a wall clock and as a monotonic one."""

    START: Final = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class SetClock(LoopClock):
    """The same, with a wall clock that somebody sets: it is ahead by so many seconds."""

    ahead_s = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead_s)


class Recorded:
    """Keeps the events that the operator records."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, job: JobView, event: Event) -> None:
        self.events.append(event)


class OperatorLife:
    """One life of an operator process on a cluster, wired as `runtime` does it, without kopf.

    As a context it lists, works and watches until it is left; left alone, its parts can be used
    one by one.
    """

    def __init__(
        self,
        cluster: FakeCluster,
        *,
        max_jobs: int = 100,
        interval_s: float = 300.0,
        namespaces: tuple[str | None, ...] = (None,),
        endpoint: Writer | None = None,
        retry_cache_size: int = 1000,
        ttl_s: float | None = None,
        shelf: LogShelf | None = None,
        max_waiting: int = 1000,
        events: Recorder | None = None,
    ) -> None:
        self.cluster: Final = cluster
        self.queue: Final[WorkQueue[JobKey]] = WorkQueue()
        self.index: Final = JobIndex(
            max_jobs, on_turn=self.queue.add, on_forgotten=self.queue.unfollow
        )
        self.manifests: Final = ManifestCache()
        self.recorded: Final = Recorded()
        self.carrier: Final = self._carrier(endpoint, retry_cache_size) if endpoint else None
        self.policies: Final = PolicyBook(OPERATOR_NAMESPACE, settings_ttl_s=ttl_s or 0.0)
        self.guard: Final = ClockGuard(cluster.clock, hold_s=600)
        self.remover: Final = Remover(
            cluster, self.policies, events or self.recorded, cluster.clock, self.guard
        )
        self.policy_watch: Final = PolicyWatch(
            cluster,
            self.policies,
            self.index,
            namespaces=(None,),
            look_again=self.queue.add,
            on_forgotten=self.remover.take_removed,
        )
        self.archiver: Final = self._archiver(shelf, max_waiting) if shelf is not None else None
        self.reconciler: Final = Reconciler(
            cluster=cluster,
            index=self.index,
            manifests=self.manifests,
            records=self.carrier.outbox if self.carrier else Nowhere(),
            retention=self.remover if ttl_s is not None else None,
            logs=self.archiver or NoArchive(),
            events=events or self.recorded,
            clock=cluster.clock,
            policy=Policy(recording=endpoint is not None, archiving=shelf is not None),
        )
        self.workers: Final = Workers(self.queue, self.reconciler.reconcile, count=4)
        self.resync: Final = Resync(
            cluster=cluster,
            index=self.index,
            queue=self.queue,
            clock=cluster.clock,
            scope=Scope(namespaces=namespaces, retention_s=lambda: 3600.0),
            interval_s=interval_s,
        )
        self.intake: Final = Intake(self.index, self.manifests, self.queue, cluster.clock)
        self._retains: Final = ttl_s is not None
        self._tasks: list[asyncio.Task[None]] = []

    def _carrier(self, endpoint: Writer, retry_cache_size: int) -> Carrier:
        return Carrier(
            PersistSettings(retry_cache_size=retry_cache_size),
            writer=endpoint,
            jobs=self.cluster,
            index=self.index,
            manifests=self.manifests,
            clock=self.cluster.clock,
            cluster="test",
            namespaces=(None,),
            on_delivery=self.queue.add,
        )

    def _archiver(self, shelf: LogShelf, max_waiting: int) -> Archiver:
        return Archiver(
            pods=self.cluster,
            shelf=shelf,
            clock=self.cluster.clock,
            on_news=self.queue.add,
            max_waiting=max_waiting,
        )

    async def __aenter__(self) -> Self:
        if self._retains:
            await self.policy_watch.refresh()
        await self.resync.run_until_done()
        self.workers.start()
        self.cluster.connect(self.intake)
        if self._retains:
            self.cluster.policy_watch.deliver = self.policy_watch.policy_event
            self._tasks = [asyncio.create_task(self.policy_watch.run())]
        self.resync.request()  # as whenever a watch was opened behind a list
        self._tasks += [asyncio.create_task(self.resync.run())]
        if self.carrier is not None:
            self._tasks += self.carrier.start()
        if self.archiver is not None:
            self._tasks.append(asyncio.create_task(self.archiver.run()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.workers.stop()
        self.cluster.disconnect()


class Kubelet:
    """Runs every pod, ends it as the script says, and lets go of what is being deleted.

    Args:
        script: from attempt and rank to the exit code; None: the pod runs until it is stopped.
        run_s: how long a pod runs before it exits, in seconds.
    """

    def __init__(
        self,
        cluster: FakeCluster,
        script: Callable[[int, int], int | None] = lambda attempt, rank: 0,
        *,
        run_s: float = 2.0,
    ) -> None:
        self._cluster: Final = cluster
        self._script: Final = script
        self._run_s: Final = run_s
        self._ends_at: Final[dict[str, float]] = {}

    async def run(self) -> None:
        """Step every half second, until cancelled."""
        while True:
            await asyncio.sleep(0.5)
            self.step()

    def step(self) -> None:
        """Do what is due."""
        now = self._cluster.clock.monotonic()
        self._cluster.reap()
        for pod in self._cluster.pods():
            uid, phase = pod["metadata"]["uid"], pod["status"]["phase"]
            if phase == "Pending":
                self._cluster.run_pod(pod)
                self._ends_at[uid] = now + self._run_s
            elif phase == "Running" and now >= self._ends_at.get(uid, now):
                attempt, rank = (
                    pod["metadata"]["labels"][k] for k in (LABEL_ATTEMPT, LABEL_INDEX)
                )
                if (code := self._script(int(attempt), int(rank))) is not None:
                    self._cluster.finish_pod(pod, code)
