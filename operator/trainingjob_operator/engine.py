"""Wires, starts and stops all parts of the operator, except kopf, HTTP servers and signals.

The operator, `trainingjob gc` and the tests all use this engine, with different arguments; none of
them wires the parts itself.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from trainingjob_api.errors import KubernetesError, VolumeError
from trainingjob_operator.clock import Clock, SteadyTime
from trainingjob_operator.core.bounded import Bound, Bounded
from trainingjob_operator.core.decision import Event
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.core.untyped_json import MAX_INTERNED_TEXTS, interned_texts
from trainingjob_operator.jobs import work_queue
from trainingjob_operator.jobs.index_expiry import IndexExpiry
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.manifest_cache import ManifestCache
from trainingjob_operator.jobs.memory_pressure import MemoryPressure
from trainingjob_operator.jobs.memory_use import MemoryMeter, MemoryUse, resident_bytes
from trainingjob_operator.jobs.reconciler import Reconciler
from trainingjob_operator.jobs.resync import Resync
from trainingjob_operator.jobs.watch_events import WatchEventHandler
from trainingjob_operator.jobs.work_queue import WorkQueue
from trainingjob_operator.jobs.workers import Workers
from trainingjob_operator.kube.cluster import Cluster
from trainingjob_operator.kube.events import EventRecorder
from trainingjob_operator.kube.forbidden_lists import ForbiddenLists
from trainingjob_operator.log_archive.archiver import Archiver, NoLogArchive
from trainingjob_operator.log_archive.log_volume import LogVolume, VolumeClaim
from trainingjob_operator.records.outbox import Writer
from trainingjob_operator.records.record_delivery import NoRecords, RecordDelivery
from trainingjob_operator.retention.clock_guard import ClockGuard
from trainingjob_operator.retention.housekeeper import Counts, Housekeeper, Memory
from trainingjob_operator.retention.job_deleter import JobDeleter
from trainingjob_operator.retention.job_sweep import JobSweep
from trainingjob_operator.retention.policy_index import PolicyIndex
from trainingjob_operator.retention.policy_watch import PolicyWatch
from trainingjob_operator.retention.startup_list import StartupList
from trainingjob_operator.retention.unreported_totals import UnreportedTotals
from trainingjob_operator.retention.volume_retention import VolumeRetention
from trainingjob_operator.settings import Settings
from trainingjob_operator.volume.identity_reader import IdentityReader

EVENTS_FLUSH_S: Final = 0.5
_SHORT_TTL_S: Final = 300.0

_logger = logging.getLogger(__name__)


class Engine:
    """The parts of one operator process that depend only on the cluster, the clock and each other."""

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        clock: Clock,
        *,
        namespace: str,
        on_pass: Callable[[float], None],
        counts: Counts,
        endpoint: Writer | None = None,
        volume: LogVolume | None = None,
        read_memory: Callable[[], MemoryUse | None] | None = None,
        request_restart: Callable[[str], object] = lambda why: None,
        on_deleted: Callable[[JobKey, str], object] = lambda key, reason: None,
        creates_default: bool = True,
        dry_run: bool = False,
    ) -> None:
        """Build the parts; nothing runs and nothing is sent yet.

        Args:
            settings: all settings.
            cluster: the API server.
            clock: the time.
            namespace: the operator's own, which contains the default RetentionPolicy.
            on_pass: called after each pass over a job with its duration in seconds.
            counts: counts the runs of the retention.
            endpoint: writes one record; None: finished jobs leave no record.
            volume: the log volume; None: logs are not archived.
            read_memory: reads the memory use; None: that of this process's cgroup.
            request_restart: called with the reason when the in-memory state has become invalid.
            on_deleted: called with the key of a deleted finished job, and the reason.
            creates_default: create the default policy if it is missing.
            dry_run: delete no job, but call `on_deleted` all the same.
        """
        namespaces = settings.namespaces or (None,)
        self._settings: Final = settings
        self.steady: Final = SteadyTime(clock)
        self.volume: Final = volume
        self.queue: Final[WorkQueue[JobKey]] = WorkQueue(
            limit=_queue_limit(settings.index.max_jobs),
            follows=lambda key: key in self.index,
            followed=settings.index.max_jobs,
        )
        self.index: Final = JobIndex(
            settings.index.max_jobs,
            max_pods=settings.index.max_pods,
            monotonic=clock.monotonic,
            moment=self.steady.of,
            on_turn=self.queue.add,
            on_forgotten=self._forget,
        )
        self.pressure: Final = MemoryPressure(
            settings.memory,
            self.index,
            self.steady,
            retention_s=settings.index.retention,
            read=read_memory or MemoryMeter().read,
            announce=self._announce,
        )
        self.index_expiry: Final = IndexExpiry(
            self.index, self.steady, retention_s=self.pressure.retention_s
        )
        self.manifests: Final = ManifestCache()
        self.events: Final = EventRecorder(cluster, clock)
        self.policies: Final = PolicyIndex(namespace, settings_ttl_s=settings.gc.ttl)
        self.guard: Final = ClockGuard(clock, hold_s=settings.gc.interval)
        self.unreported: Final = UnreportedTotals()
        self.remover: Final = JobDeleter(
            cluster,
            self.policies,
            self.events,
            clock,
            self.guard,
            unreported=self.unreported,
            on_deleted=on_deleted,
            dry_run=dry_run,
        )
        self.job_sweep: Final = JobSweep(
            cluster, self.policies, self.remover, enqueue=self.queue.add
        )
        self.startup_list: Final = StartupList(
            self.job_sweep, self.policies, clock, remember=volume is not None
        )
        self.forbidden_lists: Final = ForbiddenLists(clock.monotonic)
        self.policy_watch: Final = PolicyWatch(
            cluster,
            self.policies,
            self.index,
            namespaces=policy_namespaces(settings, namespace),
            forbidden_lists=self.forbidden_lists,
            unreported=self.unreported,
            enqueue=self.queue.add,
            creates_default=creates_default,
        )
        self.delivery: Final = (
            self._record_delivery(endpoint, cluster, clock) if endpoint else None
        )
        self.archiver: Final = self._archiver(volume, cluster, clock) if volume else None
        self.claim: Final = self._claim(volume, cluster) if volume else None
        self.identity_reader: Final = (
            IdentityReader(cluster, volume.identity, namespace) if volume else None
        )
        self.reconciler: Final = Reconciler(
            cluster=cluster,
            index=self.index,
            manifests=self.manifests,
            records=self.delivery.outbox if self.delivery is not None else NoRecords(),
            when_finished=self.remover.when_finished,
            logs=self.archiver or NoLogArchive(),
            events=self.events,
            clock=clock,
            settings=settings.decision_settings,
            accelerators=settings.reconciler.accelerators,
            cluster_name=settings.cluster_name,
            is_busy=lambda: self.queue.depth > 0,
            on_rewind=request_restart,
        )
        self.workers: Final = Workers(
            self.queue,
            self.reconciler.reconcile,
            count=settings.reconciler.workers,
            on_pass=on_pass,
        )
        self.resync: Final = Resync(
            cluster=cluster,
            index=self.index,
            queue=self.queue,
            clock=clock,
            namespaces=namespaces,
            retention_s=self.pressure.retention_s,
            interval_s=settings.reconciler.resync_interval,
            settings=settings.decision_settings,
            forbidden_lists=self.forbidden_lists,
            on_rewind=request_restart,
        )
        self.housekeeper: Final = self._housekeeper(cluster, clock, counts)
        self.watch_events: Final = WatchEventHandler(
            self.index, self.manifests, self.queue, clock, settings=settings.decision_settings
        )
        self.is_stopping = False
        self._tasks: Final[list[asyncio.Task[Any]]] = []

    # --- building -------------------------------------------------------------------------------

    def _record_delivery(self, endpoint: Writer, cluster: Cluster, clock: Clock) -> RecordDelivery:
        return RecordDelivery(
            self._settings.persist,
            writer=endpoint,
            jobs=cluster,
            index=self.index,
            manifests=self.manifests,
            clock=clock,
            cluster=self._settings.cluster_name,
            namespaces=self._settings.namespaces or (None,),
            on_delivery=self.queue.add,
        )

    def _archiver(self, volume: LogVolume, cluster: Cluster, clock: Clock) -> Archiver:
        return Archiver(
            pods=cluster,
            store=volume.store,
            clock=clock,
            enqueue=self.queue.add,
            max_waiting=volume.max_waiting,
        )

    def _claim(self, volume: LogVolume, cluster: Cluster) -> VolumeClaim:
        return VolumeClaim(
            volume.store,
            cluster,
            policy_namespace=self.policies.default_namespace,
            known_uids=lambda: frozenset(entry.job.uid for entry in self.index),
        )

    def _housekeeper(self, cluster: Cluster, clock: Clock, counts: Counts) -> Housekeeper:
        return Housekeeper(
            self._settings,
            cluster=cluster,
            policies=self.policies,
            watch=self.policy_watch,
            sweep=self.job_sweep,
            startup_list=self.startup_list,
            unreported=self.unreported,
            guard=self.guard,
            clock=clock,
            counts=counts,
            aging=self.index_expiry,
            memory=self._memory,
            volume=None
            if self.volume is None
            else VolumeRetention(
                self.volume.sweep,
                default_max_age_s=self._settings.volume.max_age,
                cluster=cluster,
                policies=self.policies,
                guard=self.guard,
                clock=clock,
                counts=counts,
                identify=self._identify,
                last_write_error=lambda: self.archiver.volume_fault if self.archiver else None,
            ),
        )

    def _forget(self, key: JobKey) -> None:
        """Forget a job that the index evicted, except the time at which it is to be deleted."""
        self.queue.unfollow(key)
        self.manifests.drop(key)

    def _announce(self, event: Event) -> bool:
        """Record an Event about the operator on the default policy; False: none is known yet."""
        policy = self.policies.get(self.policies.default_namespace)
        if policy is not None:
            self.events.record_of_policy(policy, event)
        return policy is not None

    async def _identify(self) -> None:
        if self.identity_reader is not None:
            await self.identity_reader.read()

    def _memory(self) -> Memory:
        return Memory(
            jobs=len(self.index),
            active=sum(not entry.job.status.is_finished for entry in self.index),
            waiting=len(self.delivery.cache) if self.delivery is not None else 0,
            resident_bytes=resident_bytes(),
        )

    # --- running --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Fill the index, then start the workers: decisions need a complete index."""
        await self._read_policies()
        refill = [self.delivery.refill] if self.delivery is not None else []
        await self.resync.resync_until_done([self.startup_list, *refill])
        _logger.info("following %d jobs; watching for more", len(self.index))
        await self._start_archiving()
        self.workers.start()
        self.add_task(self.resync.keep_in_sync(), "resync")
        self.add_task(self.events.run(), "events")
        self.add_task(self.pressure.watch_memory(), "memory-pressure")
        self.add_task(self.policy_watch.run(), "policies")
        self.add_task(self.index_expiry.keep_evicting(), "index-expiry")
        self.add_task(self.guard.run(), "clock-guard")
        if self.delivery is not None:
            self._tasks.extend(self.delivery.start())
        else:
            _logger.warning(
                "no record endpoint is set (TRAININGJOB_PERSIST__URL): "
                "finished jobs leave no record behind"
            )

    def add_task(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a task until the engine stops; if it ends before, the liveness probe fails."""
        self._tasks.append(asyncio.create_task(work, name=name))

    async def stop(self) -> None:
        """Stop everything, if need be in the middle of a pass: the API server holds the truth."""
        self.is_stopping = True
        self.startup_list.forget()
        await self.housekeeper.stop()
        await self.workers.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.events.flush(EVENTS_FLUSH_S)

    async def _start_archiving(self) -> None:
        """Read this install's identity, then claim the volume. A foreign volume stops nothing else."""
        if self.archiver is None or self.claim is None or self.identity_reader is None:
            return
        with suppress(VolumeError):  # it is logged, and retried
            await self.identity_reader.read()
        await self.claim.claim()
        self.add_task(self.identity_reader.keep_reading(self.claim.claim), "identity")
        self.add_task(self.archiver.keep_archiving(), "archiver")
        self.add_task(self.claim.keep_claiming(), "volume-claim")

    async def _read_policies(self) -> None:
        """List the RetentionPolicies before any job is deleted; if that fails, none is deleted."""
        ttl = self._settings.gc.ttl
        if ttl < _SHORT_TTL_S:
            _logger.warning(
                "finished jobs are deleted after %g s (TRAININGJOB_GC__TTL): less than %g s leaves "
                "little time to look at them",
                ttl,
                _SHORT_TTL_S,
            )
        try:
            await self.policy_watch.refresh()
        except KubernetesError as error:
            _logger.warning("cannot read or create the RetentionPolicies yet: %s", error)

    @property
    def bounded(self) -> tuple[Bound, ...]:
        """Use and limit of every bounded structure in memory."""
        volume = self.volume
        parts = (
            *(self.index, self.queue, self.manifests, self.reconciler.starter),
            *(self.policies, self.remover, self.events, self.startup_list),
            self.delivery.outbox if self.delivery is not None else None,
            self.archiver.queue if self.archiver is not None else None,
            *((volume.store, volume.sweep) if volume is not None else ()),
        )
        texts = Bound("shared_texts", interned_texts(), MAX_INTERNED_TEXTS)
        return (
            texts,
            *(one for each in parts if isinstance(each, Bounded) for one in each.bounds),
        )

    # --- problems -------------------------------------------------------------------------------

    def liveness_problem(self) -> str | None:
        """Return the reason why the liveness probe fails; None: it succeeds."""
        if self.is_stopping or not self.resync.runs_total:
            return None
        if not self.workers.are_alive:
            return "a worker has died"
        dead = [task.get_name() for task in self._tasks if task.done()]
        return f"a task has died: {', '.join(dead)}" if dead else None

    def readiness_problem(self) -> str | None:
        """Return the reason why this process is not ready; None: it is."""
        if self.is_stopping:
            return "stopping"
        if not self.resync.runs_total:
            return "the first list of jobs and pods is not complete"
        if (problem := self.liveness_problem()) is not None:
            return problem
        return (self.volume.identity.why_unknown or None) if self.volume is not None else None


def policy_namespaces(settings: Settings, namespace: str) -> tuple[str | None, ...]:
    """Return the namespaces whose policies apply: those of jobs, and the operator's own."""
    if not settings.namespaces:
        return (None,)
    return tuple(dict.fromkeys((*settings.namespaces, namespace)))


def _queue_limit(max_jobs: int) -> int:
    """Return the limit: each job of the index counts twice (in progress and due again), plus others."""
    return 2 * max_jobs + work_queue.LIMIT
