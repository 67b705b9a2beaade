"""The composition root: builds everything once, starts it, and stops it in reverse order."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, cast

import aiohttp
import kopf

from trainingjob_api.errors import KubernetesError, SettingsError, VolumeError
from trainingjob_operator.clock import Clock, SteadyTime, SystemClock
from trainingjob_operator.core.decision import Event
from trainingjob_operator.core.gitops import instance_label
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.handlers.lifecycle import (
    operator_settings,
    register_lifecycle,
    register_login,
)
from trainingjob_operator.handlers.memories import BoundedMemories
from trainingjob_operator.handlers.retention import register_policies
from trainingjob_operator.handlers.shell import Shell
from trainingjob_operator.handlers.watch import register_watches
from trainingjob_operator.jobs import work_queue
from trainingjob_operator.jobs.continuity import Continuity
from trainingjob_operator.jobs.index_aging import IndexAging
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.manifest_cache import ManifestCache
from trainingjob_operator.jobs.memory_pressure import MemoryPressure, Ports
from trainingjob_operator.jobs.memory_use import MemoryMeter, resident_bytes
from trainingjob_operator.jobs.reconciler import Reconciler
from trainingjob_operator.jobs.resync import Resync, Scope
from trainingjob_operator.jobs.watch_events import Intake
from trainingjob_operator.jobs.work_queue import WorkQueue
from trainingjob_operator.jobs.workers import Workers
from trainingjob_operator.kube.connection import Connection, connect
from trainingjob_operator.kube.events import EventRecorder
from trainingjob_operator.kube.relists import RelistTrace
from trainingjob_operator.kube.standing import StandingGateway
from trainingjob_operator.kube.unreadable import Unreadable
from trainingjob_operator.log_archive.archive_wiring import LogArchiving
from trainingjob_operator.log_archive.no_archive import NoLogArchive
from trainingjob_operator.observability.collector import Parts, Readings
from trainingjob_operator.observability.counters import Metrics
from trainingjob_operator.observability.probes import WebServer
from trainingjob_operator.records.carrier import Carrier
from trainingjob_operator.records.endpoint import RecordWriter, writer_from
from trainingjob_operator.records.nowhere import NoRecords
from trainingjob_operator.retention.clock_guard import ClockGuard
from trainingjob_operator.retention.housekeeper import Housekeeper, Memory, Schedule, Tools
from trainingjob_operator.retention.job_deleter import Remover
from trainingjob_operator.retention.job_sweep import JobSweep
from trainingjob_operator.retention.policy_book import PolicyBook
from trainingjob_operator.retention.policy_watch import PolicyWatch
from trainingjob_operator.settings import Settings
from trainingjob_operator.volume.identity import Identity
from trainingjob_operator.volume.identity_reader import IdentityReader
from trainingjob_operator.volume.sweep.sweep import log_sweep_from

_EVENTS_FLUSH_S: Final = 0.5
_SHORT_TTL_S: Final = 300.0
_IDENTITY: Final = cast(Any, "trainingjob-operator")
"""Whom kopf's peers would see; we have none. (kopf's own type for it is not public.)"""

_logger = logging.getLogger(__name__)


class Operator:
    """Everything that runs in one operator process, wired together."""

    def __init__(
        self, settings: Settings, connection: Connection, *, clock: Clock | None = None
    ) -> None:
        """Build the parts; nothing runs and nothing is sent yet."""
        clock = clock or SystemClock()
        steady = SteadyTime(clock)
        namespaces = settings.namespaces or (None,)
        self.settings: Final = settings
        self.connection: Final = connection
        self.gateway: Final = StandingGateway(connection, timeout_s=settings.kubernetes.timeout)
        self.queue: Final[WorkQueue[JobKey]] = WorkQueue(
            limit=_queue_limit(settings.index.max_jobs), follows=lambda key: key in self.index
        )
        self.index: Final = JobIndex(
            settings.index.max_jobs,
            max_pods=settings.index.max_pods,
            monotonic=clock.monotonic,
            moment=steady.of,
            on_turn=self.queue.add,
            on_forgotten=self._forget,
        )
        self.pressure: Final = MemoryPressure(
            settings.memory,
            Ports(
                index=self.index, steady=steady, read=MemoryMeter().read, announce=self._announce
            ),
            retention_s=settings.index.retention,
        )
        self.manifests: Final = ManifestCache()
        self.events: Final = EventRecorder(self.gateway, clock)
        self.metrics: Final = Metrics()
        # Beside those of the outbox there are the tries at once, of as many workers.
        more = settings.reconciler.workers
        self.writer: Final = (
            writer_from(settings.persist, more_connections=more) if settings.persist.url else None
        )
        self.carrier: Final = self._carrier(self.writer, clock) if self.writer else None
        self.policies: Final = PolicyBook(
            settings.operator_namespace or connection.namespace, settings_ttl_s=settings.gc.ttl
        )
        self.guard: Final = ClockGuard(clock, hold_s=settings.gc.interval)
        self.remover: Final = Remover(self.gateway, self.policies, self.events, clock, self.guard)
        self.unreadable: Final = Unreadable(clock.monotonic)
        self.policy_watch: Final = PolicyWatch(
            self.gateway,
            self.policies,
            self.index,
            namespaces=self._policy_namespaces,
            unreadable=self.unreadable,
            look_again=self.queue.add,
            on_forgotten=self._forget_policy,
        )
        self.identity: Final = Identity(settings.cluster_name, settings.namespaces)
        self.identity_reader: Final = IdentityReader(
            self.gateway, self.identity, self.policies.default_namespace
        )
        self.archiving: Final = self._archiving(clock) if settings.volume.root else None
        self.log_sweep: Final = log_sweep_from(settings, clock, self.identity.owner)
        self.reconciler: Final = Reconciler(
            cluster=self.gateway,
            index=self.index,
            manifests=self.manifests,
            records=self.carrier.outbox if self.carrier is not None else NoRecords(),
            retention=self.remover,
            logs=self.archiving.archiver if self.archiving is not None else NoLogArchive(),
            events=self.events,
            clock=clock,
            policy=settings.policy,
            accelerators=settings.reconciler.accelerators,
            cluster_name=settings.cluster_name,
            is_busy=lambda: self.queue.depth > 0,
            on_rewind=self.begin_anew,
        )
        self.workers: Final = Workers(
            self.queue,
            self.reconciler.reconcile,
            count=settings.reconciler.workers,
            on_pass=self.metrics.passes.observe,
        )
        self.resync: Final = Resync(
            cluster=self.gateway,
            index=self.index,
            queue=self.queue,
            clock=clock,
            scope=Scope(namespaces=namespaces, retention_s=self.pressure.retention_s),
            interval_s=settings.reconciler.resync_interval,
            policy=settings.policy,
            unreadable=self.unreadable,
            on_rewind=self.begin_anew,
        )
        self.aging: Final = IndexAging(self.index, steady, retention_s=self.pressure.retention_s)
        self.housekeeper: Final = self._housekeeper(clock)
        self.intake: Final = Intake(
            self.index, self.manifests, self.queue, clock, policy=settings.policy
        )
        self.relists: Final = RelistTrace(
            self.resync.request,
            on_missing=lambda path: self.begin_anew(f"404 on GET {path}: its definition is gone"),
        )
        self.continuity: Final = Continuity(
            self.gateway,
            namespace=namespaces[0],
            newest_version=lambda: self.index.newest_version,
            compare=self.resync.request,
            begin_anew=self.begin_anew,
            is_watching=lambda: self.relists.has_asked,
            monotonic=clock.monotonic,
        )
        self.web: Final = WebServer(
            settings.web.address,
            healthy=self.liveness_problem,
            ready=self.readiness_problem,
            metrics=self.metrics.render,
        )
        self.memories: Final = BoundedMemories()
        self.metrics.registry.register(Readings(self._parts()))
        self.shell: Final = Shell()
        self.is_stopping = False
        self.begins_anew = False
        self._tasks: list[asyncio.Task[Any]] = []

    def _forget(self, key: JobKey) -> None:
        """A job is not remembered any more: of a finished one, its deletion's appointment is all."""
        self.queue.unfollow(key)
        self.manifests.drop(key)

    def _forget_policy(self, namespace: str) -> None:
        """A policy is gone: nobody is to be told any more what was done for it."""
        self.remover.take_removed(namespace)
        self.housekeeper.policy_forgotten(namespace)

    def _announce(self, event: Event) -> bool:
        """Tell of the operator itself, in Events of the default policy; False: none is known yet."""
        policy = self.policies.get(self.policies.default_namespace)
        if policy is not None:
            self.events.record_of_policy(policy, event)
        return policy is not None

    def _housekeeper(self, clock: Clock) -> Housekeeper:
        sweep = JobSweep(self.gateway, self.policies, self.remover, look_again=self.queue.add)
        tools = Tools(
            policies=self.gateway,
            book=self.policies,
            watch=self.policy_watch,
            sweep=sweep,
            remover=self.remover,
            guard=self.guard,
            clock=clock,
            counts=self.metrics.gc,
            aging=self.aging,
            memory=self._memory,
            volume=self.log_sweep,
            identify=self.identity_reader.read,
            volume_fault=lambda: self.archiving.archiver.volume_fault if self.archiving else None,
        )
        schedule = Schedule(
            interval_s=self.settings.gc.interval,
            namespaces=self.settings.namespaces or (None,),
            files_max_age_s=self.settings.volume.max_age,
        )
        return Housekeeper(tools, schedule)

    def _memory(self) -> Memory:
        return Memory(
            jobs=len(self.index),
            active=sum(not entry.job.status.is_finished for entry in self.index),
            waiting=len(self.carrier.cache) if self.carrier is not None else 0,
            resident_bytes=resident_bytes(),
        )

    def _parts(self) -> Parts:
        return Parts(
            index=self.index,
            manifests=self.manifests,
            queue=self.queue,
            workers=self.workers,
            reconciler=self.reconciler,
            resync=self.resync,
            events=self.events,
            requests=self.gateway.requests,
            memories=self.memories,
            web=self.web,
            pressure=self.pressure,
            policies=self.policies,
            remover=self.remover,
            guard=self.guard,
            housekeeper=self.housekeeper,
            carrier=self.carrier,
            archiving=self.archiving,
            log_sweep=self.log_sweep,
        )

    def _carrier(self, writer: RecordWriter, clock: Clock) -> Carrier:
        return Carrier(
            self.settings.persist,
            writer=writer,
            jobs=self.gateway,
            index=self.index,
            manifests=self.manifests,
            clock=clock,
            cluster=self.settings.cluster_name,
            namespaces=self.settings.namespaces or (None,),
            on_delivery=self.queue.add,
        )

    def _archiving(self, clock: Clock) -> LogArchiving:
        return LogArchiving(
            self.settings,
            cluster=self.gateway,
            clock=clock,
            policy_namespace=self.policies.default_namespace,
            known_uids=lambda: frozenset(entry.job.uid for entry in self.index),
            identity=self.identity,
            on_news=self.queue.add,
        )

    @property
    def _policy_namespaces(self) -> tuple[str | None, ...]:
        """Where RetentionPolicies count: where jobs are served, and where the default one lives."""
        if not self.settings.namespaces:
            return (None,)
        return tuple(dict.fromkeys((*self.settings.namespaces, self.policies.default_namespace)))

    async def run(self, *, handle_signals: bool = False) -> None:
        """Run until `shell.told` is set, by SIGTERM or SIGINT if signals are handled.

        Raises:
            SettingsError: the web address cannot be taken.
        """
        registry = kopf.OperatorRegistry()
        register_login(registry, server=self.connection.server, open_session=self._open_session)
        register_lifecycle(registry, start=self._start, stop=self._stop)
        register_watches(registry, self.intake, namespaces=self.settings.namespaces)
        register_policies(
            registry, self.policy_watch, self.housekeeper, interval_s=self.settings.gc.interval
        )
        if handle_signals:
            self.shell.listen()
        try:
            _logger.info("probes are served on %s", await self._serve_probes())
            # kopf looks for our kinds when it starts, and of some namespaces never again.
            if await self.shell.wait_for(self.continuity.until_served()):
                await self.shell.run(self._kopf(registry))
        finally:
            await self.web.stop()
            if self.writer is not None:
                await self.writer.close()
            await self.gateway.close()

    def begin_anew(self, why: str) -> None:
        """Stop in order, because what is remembered is void; then another Operator takes over."""
        if not self.shell.told.is_set():
            _logger.warning("beginning anew: %s", why)
            self.begins_anew = True
            self.shell.told.set()

    def _kopf(self, registry: kopf.OperatorRegistry) -> Coroutine[Any, Any, None]:
        clusterwide = not self.settings.namespaces
        return kopf.operator(
            registry=registry,
            settings=operator_settings(clusterwide=clusterwide),
            memories=self.memories,
            standalone=True,
            # Else kopf asks for the user's name, and an image's user is but a number.
            identity=_IDENTITY,
            clusterwide=clusterwide,
            namespaces=[each for each in self._policy_namespaces if each],
            stop_flag=self.shell.told,
        )

    async def _serve_probes(self) -> str:
        try:
            return await self.web.start()
        except OSError as error:
            raise SettingsError(
                f"TRAININGJOB_WEB__ADDRESS: cannot serve on {self.settings.web.address} "
                f"({error.strerror or error}); set a host:port that is free, as in 0.0.0.0:8081"
            ) from error

    async def _open_session(self) -> aiohttp.ClientSession:
        return await self.connection.open_session(
            self.relists.config, self.gateway.requests.trace()
        )

    def liveness_problem(self) -> str | None:
        """What is wrong with this process, for `/healthz`."""
        if self.is_stopping or not self.resync.runs_total:
            return None
        if not self.workers.are_alive:
            return "a worker has died"
        dead = [task.get_name() for task in self._tasks if task.done()]
        return f"a task has died: {', '.join(dead)}" if dead else None

    def readiness_problem(self) -> str | None:
        """What keeps this process from its work, for `/readyz`."""
        if self.is_stopping:
            return "stopping"
        if self.continuity.missing is not None:
            return self.continuity.missing
        if not self.resync.runs_total:
            return "the first list of jobs and pods is not complete"
        if (ailment := self.liveness_problem()) is not None:
            return ailment
        if self.archiving is not None and (unknown := self.identity.why_unknown):
            return unknown
        follows = self.relists.have_begun(self.settings.namespaces or (None,))
        return None if follows else "the watches of jobs and pods are not open yet"

    async def _start(self) -> None:
        """Fill the index, then start deciding: nothing may be concluded from half a picture."""
        try:
            await self._read_policies()
            await self.resync.run_until_done()
        except asyncio.CancelledError:
            self.shell.leave()  # kopf does not call `_stop` then: there is nothing to stop
            raise
        _logger.info("following %d jobs; watching for more", len(self.index))
        archiving = await self._start_archiving()
        self.workers.start()
        self._tasks = [
            *archiving,
            asyncio.create_task(self.resync.run(), name="resync"),
            asyncio.create_task(self.events.run(), name="events"),
            asyncio.create_task(self.pressure.run(), name="memory-pressure"),
            asyncio.create_task(self.policy_watch.run(), name="policies"),
            asyncio.create_task(self.aging.run(), name="index-aging"),
            asyncio.create_task(self.guard.run(), name="clock-guard"),
            asyncio.create_task(self.continuity.run(), name="continuity"),
        ]
        if self.carrier is not None:
            self._tasks += self.carrier.start()
        else:
            _logger.warning(
                "no record endpoint is set (TRAININGJOB_PERSIST__URL): "
                "finished jobs leave no record behind"
            )

    async def _start_archiving(self) -> list[asyncio.Task[Any]]:
        """Know who we are before a volume is taken for ours."""
        if self.archiving is None:
            return []
        with suppress(VolumeError):  # it is said, and tried again
            await self.identity_reader.read()
        on_known = self.archiving.claim
        reading = asyncio.create_task(self.identity_reader.run(on_known), name="identity")
        return [reading, *await self.archiving.start()]

    async def _read_policies(self) -> None:
        """Know who keeps jobs for longer before any of them is deleted; without, none is."""
        ttl = self.settings.gc.ttl
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

    async def _stop(self) -> None:
        self.is_stopping = True
        await self.housekeeper.stop()
        await self.workers.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.events.flush(_EVENTS_FLUSH_S)
        self.shell.leave()


def _queue_limit(max_jobs: int) -> int:
    """Room for all jobs in the index, in work and due again, and for as many others as wait."""
    return 2 * max_jobs + work_queue.LIMIT


async def run(settings: Settings, *, kubeconfig: str | None, context: str | None) -> None:
    """Find the API server and run the operator until it is told to stop.

    Raises:
        SettingsError: there is no API server to be found, or the web address is taken.
    """
    instance_label.set(settings.gc.argocd_label)
    operator: Operator | None = None
    while operator is None or (operator.begins_anew and not operator.shell.is_signalled):
        connection = await connect(kubeconfig, context)
        if operator is not None and operator.shell.is_signalled:
            return
        _logger.info("the API server is %s", connection.server)
        operator = Operator(settings, connection)
        await operator.run(handle_signals=True)
