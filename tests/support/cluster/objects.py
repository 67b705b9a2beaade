"""In-memory object store with an API server's semantics, and fault injection for its requests.

What the protocol relies on is here: uids, one counter of resource versions, pages of one moment,
graceful deletion, the watches. So is where faults are staged: an error in place of an answer or
after the effect, a change just before a call takes effect, a crash of the caller at any call, watch
events that are delayed, duplicated or lost.
"""

import asyncio
import math
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal, NamedTuple, Protocol

from tests.support.clock import FakeClock
from trainingjob_api.constants import FINALIZER_RECORD, LABEL_JOB_NAME
from trainingjob_api.errors import (
    AlreadyExistsError,
    InvalidError,
    KubernetesError,
    RightMissingError,
    UnavailableError,
)
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.core.untyped_json import time_text
from trainingjob_operator.kube.cluster import Page
from trainingjob_sandbox.apiserver.resources import copy_json

Object = dict[str, Any]
When = Literal["before", "after"]

DEFAULT_GRACE_S: Final = 30
_TERMINAL: Final = {"Succeeded", "Failed"}
_DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Crash(BaseException):
    """The operator's process has crashed. A BaseException, so that no code of the operator catches it."""


class Call(NamedTuple):
    """One request; requests are listed in the order in which they took effect."""

    method: str
    name: str


@dataclass(frozen=True)
class Effect:
    """One change by the operator, and the job at that moment."""

    method: str
    object: Object
    job: Object

    @property
    def job_status(self) -> Object:
        """Return the job's status."""
        found: Object = self.job.get("status", {})
        return found

    @property
    def is_claimed(self) -> bool:
        """True if the job had the record finalizer."""
        return FINALIZER_RECORD in self.job.get("metadata", {}).get("finalizers", [])

    @property
    def is_deleted(self) -> bool:
        """True if the job's deletion was requested."""
        return "deletionTimestamp" in self.job.get("metadata", {})


class Sink(Protocol):
    """The receiver of watch events: the operator's intake."""

    def job_event(self, kind: str | None, raw: Object) -> None: ...
    def pod_event(self, kind: str | None, raw: Object) -> None: ...


@dataclass
class Watch:
    """The ordered event stream of one watch. It can be paused; `release` then delivers the pending events."""

    held: bool = False
    pending: list[tuple[str | None, Object]] = field(default_factory=list)
    deliver: Callable[[str | None, Object], None] | None = None

    def emit(self, kind: str | None, raw: Object) -> None:
        """Queue an event; it is delivered soon, or on `release` while paused."""
        if self.deliver is None:
            return
        self.pending.append((kind, copied(raw)))
        if not self.held:
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Deliver the pending events, unless paused."""
        while self.pending and not self.held and self.deliver is not None:
            self.deliver(*self.pending.pop(0))

    def hold(self) -> None:
        """Pause the delivery."""
        self.held = True

    def release(self) -> None:
        """Resume, and deliver the pending events in order now."""
        self.held = False
        self.flush()

    def duplicate(self) -> None:
        """Duplicate the pending events."""
        self.pending = [event for event in self.pending for _ in range(2)]

    def drop(self) -> None:
        """Drop the pending events."""
        self.pending.clear()


@dataclass
class _Fault:
    error: KubernetesError
    times: float
    after: bool


class Objects:
    """Objects by kind and key, with the faults that a test injects into requests.

    Attributes:
        calls: every request of the operator, reads and refused ones included.
        effects: what the operator's requests created, deleted and wrote.
        before: functions to call once, just before the next call of a method takes effect.
        forbidden: what a missing Role forbids: the method, and the namespace of a list, or else the
            name of an object.
        page_size: objects in a page of a list.
        pods_changed: set whenever a pod is created, changed or deleted.
    """

    def __init__(
        self, clock: Clock | None = None, *, namespaces: tuple[str, ...] = ("ml", "ops")
    ) -> None:
        self.clock: Final[Clock] = clock or FakeClock()
        self.calls: list[Call] = []
        self.effects: list[Effect] = []
        self.before: dict[str, Callable[[], object]] = {}
        self.forbidden: Final[set[tuple[str, str]]] = set()
        self.job_watch: Final = Watch()
        self.pod_watch: Final = Watch()
        self.policy_watch: Final = Watch()
        self.pods_changed: Final = asyncio.Event()
        self.page_size = 500
        self._namespaces: Final = set(namespaces)
        self._objects: Final[dict[str, dict[JobKey, Object]]] = defaultdict(dict)
        self._version = 100
        self._uids = 0
        self._faults: Final[defaultdict[str, list[_Fault]]] = defaultdict(list)
        self._crash: tuple[int, When] | None = None
        self._is_dead = False

    def jobs(self) -> list[Object]:
        """All jobs."""
        return list(self._objects["jobs"].values())

    def pods(self) -> list[Object]:
        """All pods."""
        return list(self._objects["pods"].values())

    # --- staging ------------------------------------------------------------------------------

    def fail_next(
        self, method: str, error: KubernetesError, *, times: float = 1, after: bool = False
    ) -> None:
        """Raise this error on the next calls of a method; `after` they have taken effect."""
        self._faults[method].append(_Fault(error, times, after))

    def crash_at(self, call: int, when: When) -> None:
        """Crash the caller at its n-th call, counted from 0."""
        self._crash = (call, when)

    @property
    def has_crashed(self) -> bool:
        """True if the caller has crashed. Its remaining tasks have no effect any more."""
        return self._is_dead

    def revive(self) -> None:
        """Accept calls of a new process; the watches of the old one are closed."""
        self._crash, self._is_dead = None, False
        self.disconnect()

    def connect(self, sink: Sink) -> None:
        """Open both watches: first the existing objects (events without a type), then changes."""
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

    # --- storage ------------------------------------------------------------------------------

    async def _get(self, method: str, kind: str, key: JobKey) -> Object | None:
        async with Request(self, method, key.name):
            found = self._objects[kind].get(key)
            return None if found is None else copied(found)

    async def _pages(
        self, method: str, kind: str, namespace: str | None, selector: str
    ) -> AsyncIterator[Page]:
        found: list[Object] | None = None
        start, version = 0, ""
        while found is None or start < len(found):
            async with Request(self, method, namespace or ""):
                if found is None:  # all pages are of one snapshot
                    version = str(self._version)
                    found = [copied(raw) for raw in self._select(kind, namespace, selector)]
            yield Page(found[start : start + self.page_size], version)
            start += self.page_size

    def _select(self, kind: str, namespace: str | None, selector: str) -> Iterator[Object]:
        for key, raw in sorted(self._objects[kind].items()):
            labels = raw["metadata"].get("labels", {})
            if namespace in {None, key.namespace} and _matches(selector, labels):
                yield raw

    def _create(self, method: str, kind: str, manifest: Object) -> Object:
        key = key_of(manifest)
        if key.namespace not in self._namespaces:
            raise UnavailableError(f"404: no namespace {key.namespace}", status=404)
        if not _DNS_LABEL.fullmatch(key.name):
            raise InvalidError("metadata.name: Invalid value", status=422, reason="Invalid")
        if key in self._objects[kind]:
            raise AlreadyExistsError(f"{key.name} exists", status=409, reason="AlreadyExists")
        self._uids += 1
        raw = copied(manifest)
        raw["metadata"] |= {
            "uid": f"{self._uids:08x}-0000-4000-8000-000000000000",
            "creationTimestamp": time_text(self.clock.now()),
            "generation": 1,
        }
        raw["status"] = {"phase": "Pending"} if kind == "pods" else {}
        self._store(kind, raw, "ADDED")
        if method:
            self._note(method, raw, self._owner_of(raw))
        return copied(raw)

    def _update(self, kind: str, raw: Object) -> None:
        self._store(kind, copied(raw), "MODIFIED")

    def _store(self, kind: str, raw: Object, event: str) -> None:
        self._version += 1
        raw["metadata"]["resourceVersion"] = str(self._version)
        self._objects[kind][key_of(raw)] = raw
        self._emit(kind, event, raw)

    def _remove(self, kind: str, raw: Object) -> None:
        gone = self._objects[kind].pop(key_of(raw))
        self._version += 1
        gone["metadata"]["resourceVersion"] = str(self._version)
        self._emit(kind, "DELETED", gone)

    def _emit(self, kind: str, event: str, raw: Object) -> None:
        if kind == "pods":
            self.pods_changed.set()
        if kind == "jobs":
            self.job_watch.emit(event, raw)
        elif kind == "policies":
            self.policy_watch.emit(event, raw)
        elif kind == "pods" and LABEL_JOB_NAME in raw["metadata"].get("labels", {}):
            self.pod_watch.emit(event, raw)

    def _delete_pod(self, pod: Object, grace_s: int | None) -> None:
        """Delete an unbound pod at once and a bound one gracefully; a second request can only shorten the grace period."""
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
        uid = controller_uid(raw)
        return next((job for job in self.jobs() if job["metadata"]["uid"] == uid), {})

    def _note(self, method: str, raw: Object, job: Object) -> None:
        self.effects.append(Effect(method, copied(raw), copied(job)))

    def _take_fault(self, method: str, *, after: bool) -> KubernetesError | None:
        fault = next((f for f in self._faults[method] if f.after is after), None)
        if fault is None:
            return None
        fault.times -= 1
        if fault.times <= 0:
            self._faults[method].remove(fault)
        return fault.error


class Request:
    """One request: it may be refused on entry, and its response may be lost on exit."""

    def __init__(self, cluster: Objects, method: str, name: str) -> None:
        self._cluster: Final = cluster
        self._call: Final = Call(method, name)
        self._dies: When | None = None

    async def __aenter__(self) -> None:
        await asyncio.sleep(0)  # let other tasks run, as during a network request
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
        if (method, self._call.name) in cluster.forbidden:
            message = f'{method} is forbidden: User "operator" cannot list in {self._call.name}'
            raise RightMissingError(message, status=403, reason="Forbidden")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        self._die("after")
        if kind is not None:
            return
        if (lost := self._cluster._take_fault(self._call.method, after=True)) is not None:
            raise lost
        await asyncio.sleep(0)  # a watch event can arrive before the response
        if self._cluster._is_dead:
            raise Crash

    def _die(self, when: When) -> None:
        if self._dies == when:
            self._cluster._is_dead = True
            raise Crash


def key_of(raw: Object) -> JobKey:
    return JobKey(raw["metadata"]["namespace"], raw["metadata"]["name"])


def controller_uid(raw: Object) -> str:
    references = raw["metadata"].get("ownerReferences", [])
    return next((r["uid"] for r in references if r.get("controller")), "")


def _matches(selector: str, labels: dict[str, str]) -> bool:
    terms = [term.partition("=") for term in selector.split(",") if term]
    return all(
        labels.get(name) == value if equals else name in labels for name, equals, value in terms
    )


def merged(old: Object, patch: Object) -> Object:
    """JSON merge patch, RFC 7396."""
    found = {name: value for name, value in old.items() if patch.get(name, value) is not None}
    for name, value in patch.items():
        if isinstance(value, dict):
            found[name] = merged(old[name] if isinstance(old.get(name), dict) else {}, value)
        elif value is not None:
            found[name] = copy_json(value)
    return found


def copied(raw: Object) -> Object:
    """Copy an object, so that callers cannot modify the stored one."""
    copy: Object = copy_json(raw)
    return copy
