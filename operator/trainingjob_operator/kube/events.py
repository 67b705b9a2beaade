"""Records Kubernetes Events in the background: a bounded queue, with deduplication, never blocking.

kopf's own event posting neither merges nor limits events, and works only inside its handlers.

Bounds: `QUEUE_SIZE` events wait to be sent. Further ones are dropped and counted: an Event is only
a hint, the facts are in status. An Event with the same reason and message for the same job is not
sent again within `REPEAT_AFTER_S`; the cache for this has `MEMORY_SIZE` entries and evicts the
oldest.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import uuid4

from trainingjob_api.constants import (
    API_VERSION,
    KIND_RETENTION_POLICY,
    KIND_TRAINING_JOB,
    POLICY_NAME,
)
from trainingjob_api.errors import KubernetesError, ThrottledError
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.bounded import Bound
from trainingjob_operator.core.decision import Event
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.message_text import truncate
from trainingjob_operator.core.observe_policy import PolicyView
from trainingjob_operator.core.untyped_json import time_text
from trainingjob_operator.kube.cluster import Cluster

QUEUE_SIZE: Final = 1000
MEMORY_SIZE: Final = 2000
REPEAT_AFTER_S: Final = 600.0

_COMPONENT: Final = "trainingjob-operator"
_logger = logging.getLogger(__name__)


class Subject(NamedTuple):
    """The object that an event is about (`involvedObject`)."""

    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str


class EventRecorder:
    """Queues events without waiting, and sends them one after the other."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster: Final = cluster
        self._clock: Final = clock
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(QUEUE_SIZE)
        self._recorded_at: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self.recorded_total = 0
        self.dropped_total = 0

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit."""
        return (
            Bound("event_queue", self._queue.qsize(), QUEUE_SIZE),
            Bound("event_memory", len(self._recorded_at), MEMORY_SIZE),
        )

    def record(self, job: JobView, event: Event) -> None:
        """Queue an event about a job, unless it is a repeat. Never waits, never fails."""
        what = (job.uid, event.reason, event.message)
        if self._is_repeat(what):
            return
        key = job.key
        about = Subject(KIND_TRAINING_JOB, *key, job.uid, job.resource_version)
        if not self._enqueue(about, event):
            del self._recorded_at[what]  # dropped, so the next one is no repeat

    def record_of_policy(self, policy: PolicyView, event: Event) -> None:
        """Queue an event about a RetentionPolicy, repeats included. Never waits, never fails."""
        about = Subject(
            KIND_RETENTION_POLICY,
            policy.namespace,
            POLICY_NAME,
            policy.uid,
            policy.resource_version,
        )
        self._enqueue(about, event)

    async def run(self) -> None:
        """Send queued events until cancelled. An event that the API server refuses is dropped.

        After a 429 the next event waits for the server's `Retry-After`.
        """
        while True:
            await self._send(await self._queue.get())

    async def flush(self, timeout_s: float) -> None:
        """Send the rest of the queue, with this time limit. Call it after `run` has ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self._queue.empty():
                    await self._send(self._queue.get_nowait())

    async def _send(self, manifest: dict[str, Any]) -> None:
        try:
            await self._cluster.create_event(manifest)
        except KubernetesError as error:
            self.dropped_total += 1
            _logger.debug("event %s was refused: %s", manifest["reason"], error)
            if isinstance(error, ThrottledError):
                await asyncio.sleep(error.retry_after_s)
        except Exception:
            self.dropped_total += 1
            _logger.exception("event %s was not sent; this is a bug", manifest["reason"])

    def _enqueue(self, about: Subject, event: Event) -> bool:
        try:
            self._queue.put_nowait(event_manifest(about, event, self._clock.now()))
        except asyncio.QueueFull:
            self.dropped_total += 1
            return False
        self.recorded_total += 1
        return True

    def _is_repeat(self, what: tuple[str, str, str]) -> bool:
        now = self._clock.monotonic()
        recorded_at = self._recorded_at.get(what)
        if recorded_at is not None and now - recorded_at < REPEAT_AFTER_S:
            return True
        self._recorded_at[what] = now
        self._recorded_at.move_to_end(what)
        if len(self._recorded_at) > MEMORY_SIZE:
            self._recorded_at.popitem(last=False)
        return False


def event_manifest(about: Subject, event: Event, now: datetime) -> dict[str, Any]:
    """Return a core/v1 Event about one of our objects; `kubectl describe` shows it."""
    at = time_text(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{about.name[:200]}.{uuid4().hex[:16]}",
            "namespace": about.namespace,
        },
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": about.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
            "resourceVersion": about.resource_version,
        },
        "type": "Warning" if event.warning else "Normal",
        "reason": event.reason,
        "message": truncate(event.message),
        "source": {"component": _COMPONENT},
        "reportingComponent": _COMPONENT,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
