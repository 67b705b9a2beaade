"""The outbox: sends the records of finished jobs to the endpoint, and reports the results.

The truth is in the cluster: `status.recordState`, which only the reconciler writes. Memory holds
keys, in flight or waiting, any of which can be forgotten without loss.

Bounds: `concurrency` writes in flight; the retry cache's limit of waiting keys; as many deliveries
that the reconciler has not processed yet. At that limit the outbox waits for the reconciler. If it
processes none for a while (jobs whose status cannot be written), the oldest deliveries are evicted.
Their records are found and sent again later; the endpoint then responds as it did the first time.

Listed jobs are sent first: a page of a hundred costs the API server less than three reads. A list
contains all jobs whose records wait, the waiting keys included; these are read one by one only
while there is no page. During an outage of the endpoint only the keys of listed jobs are kept, as
far as the cache has free entries.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final, Literal, Protocol

from trainingjob_api.errors import (
    EndpointUnauthorizedError,
    EndpointUnavailableError,
    KubernetesError,
    RecordConflictError,
    RecordError,
    RecordRejectedError,
)
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.backoff import Backoff
from trainingjob_operator.core.bounded import Bound
from trainingjob_operator.core.decision import Delivery
from trainingjob_operator.core.job import JobKey, JobStatus, JobView, is_newer
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.core.plan import is_ours
from trainingjob_operator.core.record import build_record
from trainingjob_operator.core.untyped_json import as_dict
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.manifest_cache import Manifest, ManifestCache
from trainingjob_operator.kube.cluster import Cluster, Object
from trainingjob_operator.records.circuit_breaker import PROBE_EVERY_S, CircuitBreaker
from trainingjob_operator.records.deliveries import Deliveries
from trainingjob_operator.records.listed_jobs import ListedJobs
from trainingjob_operator.records.retry_cache import RetryCache

AT_ONCE_S: Final = 0.25
"""Timeout in seconds of storing a record before the terminal status write, so that one write can
say both."""

_SLOW_S: Final = 30.0
"""Seconds without further tries of this kind after one that failed."""

_LOOK_S: Final = 1.0
"""Seconds between two checks for deliveries to notify, and for processed ones."""

_SHORTEST_SLEEP_S: Final = 0.01
_BACKOFF: Final = Backoff(1.0, 300.0)
_logger = logging.getLogger(__name__)


class Writer(Protocol):
    """Writes one record; see `RecordWriter`."""

    async def write(self, record: Object) -> None:
        """Store a record."""
        ...


class Outbox:
    """Sends records, the oldest first."""

    def __init__(
        self,
        *,
        writer: Writer,
        jobs: Cluster,
        index: JobIndex,
        manifests: ManifestCache,
        cache: RetryCache,
        clock: Clock,
        cluster: str,
        concurrency: int,
        on_delivery: Callable[[JobKey], None],
        on_room: Callable[[], None] = lambda: None,
        on_missed: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare to deliver; nothing runs yet.

        Args:
            writer: writes one record.
            jobs: the API server, for jobs whose manifest is not in memory.
            index: the jobs in memory.
            manifests: the cached specs of jobs.
            cache: the waiting keys.
            clock: the time.
            cluster: the name of this cluster, for the record.
            concurrency: the most writes in flight.
            on_delivery: called with the key of a delivered record, to enqueue it for the reconciler.
            on_room: called whenever a try has ended, also if its job no longer waited for a record.
            on_missed: called when a record waits whose key is neither here nor in the cache.
        """
        self._writer: Final = writer
        self._jobs: Final = jobs
        self._index: Final = index
        self._manifests: Final = manifests
        self._cache: Final = cache
        self._clock: Final = clock
        self._cluster: Final = cluster
        self.concurrency: Final = concurrency
        self._deliveries: Final = Deliveries(cache.max_keys, clock, on_delivery=on_delivery)
        self._on_room: Final = on_room
        self._on_missed: Final = on_missed
        self.listed: Final = ListedJobs()
        self._breaker: Final = CircuitBreaker()
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._wake: Final = asyncio.Event()
        self._held_until = float("-inf")
        self._slow_until = float("-inf")
        self.stored_total = 0
        self.rejected_total = 0
        self.failures_total = 0

    # --- for the reconciler ---------------------------------------------------------------------

    @property
    def endpoint_is_down(self) -> bool:
        """True while the circuit breaker is open."""
        return self._breaker.is_open

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit."""
        return (
            Bound("outbox_in_flight", len(self._tasks), self.concurrency),
            Bound("outbox_ready", len(self.listed), self.listed.max_jobs),
            Bound("outbox_deliveries", len(self._deliveries), self._deliveries.limit),
            *self._cache.bounds,
        )

    def offer(self, key: JobKey) -> None:
        """Queue a job whose record is to be stored. Never waits."""
        evicted = self._cache.put(key, now=self._clock.monotonic())
        if evicted is not None:
            _logger.warning(
                "retry cache full (%d), evicted oldest: %s", self._cache.max_keys, evicted
            )
        self._wake.set()

    @property
    def wants_more(self) -> bool:
        """True if there may be room for listed jobs; during an outage only their keys are kept."""
        return not self._breaker.is_open or self._cache.room > 0

    def add_listed(self, job: JobView, raw: Object) -> None:
        """Queue a job of a list, whose record waits. Never waits.

        The index can be newer than the list, all pages of which show the same moment.
        """
        key, now, delivery = job.key, self._clock.monotonic(), self._deliveries.of(job)
        revision = job.status.record_revision
        is_delivered = delivery is not None and delivery.revision == revision
        if is_delivered or self._cache.is_backing_off(key, now=now):
            return
        entry = self._index.get(key)
        known = entry.job if entry is not None and entry.job.uid == job.uid else job
        has_changed = is_newer(known.resource_version, job.resource_version)
        if has_changed and not known.status.record_pending:
            return
        if has_changed or self._breaker.is_open:
            self._keep(key)
        elif self.listed.put(job):
            if job.invalid is None:
                self._manifests.remember(job, raw, now=now)
            self._wake.set()
        else:
            self._on_missed()

    def _keep(self, key: JobKey) -> None:
        """Keep a key if the cache has a free entry."""
        if key in self._cache or self._cache.room:
            self.offer(key)
        else:
            self._on_missed()

    def delivery_of(self, job: JobView) -> Delivery | None:
        """Return the delivery of the record of this job (by uid), until `forget_delivery`."""
        return self._deliveries.of(job)

    def forget_delivery(self, key: JobKey) -> None:
        """Forget a delivery that is in the job's status, or whose job was deleted."""
        if self._deliveries.forget_delivery(key):
            self._wake.set()

    async def store_at_once(self, job: JobView, status: JobStatus) -> bool:
        """Try to store a job's record before its terminal status write, within `AT_ONCE_S`.

        This is tried only while the endpoint is fast, so that a slow one delays the reconciler
        only once in a while, and not for every job.

        Returns:
            Whether it is stored. If not, nothing is lost: write the status and `offer` the key.
        """
        now = self._clock.monotonic()
        manifest = self._manifests.get(job)
        busy = len(self._tasks) >= self.concurrency or now < self._held_until
        if manifest is None or busy or self._breaker.is_open or now < self._slow_until:
            return False
        try:
            async with asyncio.timeout(AT_ONCE_S):
                await self._writer.write(self._record(job, status, manifest))
        except (TimeoutError, RecordError):
            self._slow_until = self._clock.monotonic() + _SLOW_S
            return False
        self.stored_total += 1
        return True

    # --- the deliveries -------------------------------------------------------------------------

    async def run(self) -> None:
        """Send what waits, until cancelled."""
        try:
            while True:
                self._wake.clear()
                self._start_what_is_due()
                self._deliveries.notify(sending=len(self._tasks) >= self.concurrency)
                await self._sleep()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start_what_is_due(self) -> None:
        now = self._clock.monotonic()
        while self._has_room() and self._wait_s(now) == 0:
            if (found := self._next(now)) is None:
                return
            key, listed = found
            self._breaker.note_request(now=now)
            task = asyncio.create_task(self._deliver(key, listed), name=f"record-{key}")
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _next(self, now: float) -> tuple[JobKey, JobView | None] | None:
        """Return the key to send next, with its listed job if there is one."""
        # A probe checks the endpoint, not the record, so it ignores the back-off of records.
        is_probe = self._breaker.is_open
        if is_probe and (key := self._cache.take_probe()) is not None:
            return key, None
        if (job := self.listed.take()) is not None:
            self._cache.mark_in_flight(job.key, now=now)
            return job.key, job
        key = None if is_probe else self._cache.take(now=now)
        return (key, None) if key is not None else None

    def _has_room(self) -> bool:
        if len(self._deliveries) + len(self._tasks) < self._deliveries.limit:
            return len(self._tasks) < self.concurrency
        return not self._tasks and self._deliveries.is_stuck

    def _wait_s(self, now: float) -> float:
        """Return the seconds during which nothing may be sent to the endpoint."""
        return max(self._breaker.wait_s(now=now), self._held_until - now, 0.0)

    async def _sleep(self) -> None:
        """Sleep until a try is due, or until woken."""
        now = self._clock.monotonic()
        due = now if len(self.listed) else self._cache.next_due(now=now)
        wait: float | None = None
        if due is not None and self._has_room():
            due = now if self._breaker.is_open else due
            wait = max(due - now, self._wait_s(now), _SHORTEST_SLEEP_S)
        if self._deliveries.waits or (due is not None and not self._has_room()):
            wait = min(wait or _LOOK_S, _LOOK_S)
        try:
            async with asyncio.timeout(wait):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()
        self._on_room()

    async def _deliver(self, key: JobKey, listed: JobView | None) -> None:
        try:
            record = await self._find(key, listed)
            if record is not None:
                await self._store(key, record)
            else:
                self._cache.remove(key)
                self._breaker.note_not_sent(now=self._clock.monotonic())
        except (EndpointUnauthorizedError, EndpointUnavailableError) as error:
            self._endpoint_failed(error)
            self._retry_later(key)
        except KubernetesError as error:
            _logger.warning("job %s: cannot be read for its record: %s", key, error)
            self._retry_later(key)
        except Exception:
            # A bug with one record must not affect the others.
            _logger.exception("job %s: its record was not stored; this is a bug", key)
            self._retry_later(key)

    async def _store(self, key: JobKey, record: Object) -> None:
        try:
            await self._writer.write(record)
        except RecordConflictError as error:
            self._note_answer(key, record, "Conflict", str(error))
        except RecordRejectedError as error:
            self._note_answer(key, record, "Rejected", str(error))
        else:
            self._note_answer(key, record, "Stored", "")

    async def _find(self, key: JobKey, listed: JobView | None) -> Object | None:
        """Return the record of a job that waits for it; None: no such job exists any more."""
        entry = self._index.get(key)
        job = entry.job if entry is not None else listed
        if listed and job and is_newer(listed.resource_version, job.resource_version):
            job = listed  # the watch is behind the list
        manifest = self._manifests.get(job) if job is not None else None
        if entry is None:
            self._manifests.drop(key)  # nothing else would
        if job is None or manifest is None:
            raw = await self._jobs.get_job(key)
            if raw is None:
                return None
            job = job_view(raw)
            labels = as_dict(as_dict(raw.get("metadata")).get("labels"))
            manifest = Manifest(labels, as_dict(raw.get("spec")), self._clock.monotonic())
        # The record names the logs. It is offered again when they are archived or given up.
        is_due = job.status.record_pending and not job.status.logs_pending and is_ours(job)
        return self._record(job, job.status, manifest) if is_due else None

    def _record(self, job: JobView, status: JobStatus, manifest: Manifest) -> Object:
        return build_record(
            job, status, labels=manifest.labels, spec=manifest.spec, cluster=self._cluster
        )

    def _note_answer(
        self,
        key: JobKey,
        record: Object,
        result: Literal["Stored", "Conflict", "Rejected"],
        message: str,
    ) -> None:
        """Add a delivery with the endpoint's response, for the reconciler."""
        if self._breaker.succeeded():
            _logger.info("the record endpoint answers again; %d keys wait", len(self._cache))
            self._cache.make_all_due(now=self._clock.monotonic())
            self._on_missed()  # a list finds all waiting jobs, with their specs
        if result == "Stored":
            self.stored_total += 1
        else:
            self.rejected_total += 1
            _logger.warning("job %s: the endpoint rejected its record: %s", key, message)
        self._cache.remove(key)
        uid, revision = record["uid"], record["revision"]
        self._deliveries.add(
            key, Delivery(uid=uid, revision=revision, result=result, message=message)
        )

    def _endpoint_failed(self, error: RecordError) -> None:
        self.failures_total += 1
        now = self._clock.monotonic()
        if isinstance(error, EndpointUnavailableError):
            self._held_until = max(self._held_until, now + error.retry_after_s)
        if self._breaker.failed(now=now, at_once=isinstance(error, EndpointUnauthorizedError)):
            self._keep_listed_keys()
            _logger.warning(
                "the record endpoint is down (%s); records wait in the cluster, and it is probed "
                "every %g s",
                error,
                PROBE_EVERY_S,
            )

    def _keep_listed_keys(self) -> None:
        """Replace listed jobs by their keys at the start of an outage, as far as the cache has room."""
        for key in self.listed.clear():
            self._manifests.drop(key)
            self._keep(key)

    def _retry_later(self, key: JobKey) -> None:
        """Schedule the next try: exponential back-off with full jitter, which spreads the tries."""
        ceiling = _BACKOFF.wait_s(self._cache.failures(key) + 1)
        wait = random.uniform(0.0, ceiling)  # noqa: S311 - not a secret
        self._cache.failed(key, due=self._clock.monotonic() + wait)
        if key not in self._cache:  # it was evicted, or there was no room for it
            self._on_missed()
