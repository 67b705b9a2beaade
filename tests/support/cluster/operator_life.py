"""The operator without kopf, on a cluster in memory."""

import asyncio
from types import TracebackType
from typing import Final, Self

from tests.support.cluster.cluster import FakeCluster
from trainingjob_operator.clock import SteadyTime
from trainingjob_operator.core.decision import DecisionSettings, Event
from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.manifest_cache import ManifestCache
from trainingjob_operator.jobs.ports import Recorder
from trainingjob_operator.jobs.reconciler import Reconciler
from trainingjob_operator.jobs.resync import Resync, Scope
from trainingjob_operator.jobs.watch_events import Intake
from trainingjob_operator.jobs.work_queue import WorkQueue
from trainingjob_operator.jobs.workers import Workers
from trainingjob_operator.kube.unreadable import Unreadable
from trainingjob_operator.log_archive.archiver import Archiver
from trainingjob_operator.log_archive.no_archive import NoLogArchive
from trainingjob_operator.log_archive.ports import LogStore
from trainingjob_operator.records.carrier import Carrier
from trainingjob_operator.records.nowhere import NoRecords
from trainingjob_operator.records.outbox import Writer
from trainingjob_operator.retention.clock_guard import ClockGuard
from trainingjob_operator.retention.job_deleter import Remover
from trainingjob_operator.retention.policy_book import PolicyBook
from trainingjob_operator.retention.policy_watch import PolicyWatch
from trainingjob_operator.settings import PersistSettings

OPERATOR_NAMESPACE: Final = "ops"


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
        max_pods: int = 100_000,
        interval_s: float = 300.0,
        namespaces: tuple[str | None, ...] = (None,),
        endpoint: Writer | None = None,
        retry_cache_size: int = 1000,
        ttl_s: float | None = None,
        shelf: LogStore | None = None,
        max_waiting: int = 1000,
        events: Recorder | None = None,
        partial_hold_s: float = 60.0,
    ) -> None:
        self.cluster: Final = cluster
        self.queue: Final[WorkQueue[JobKey]] = WorkQueue()
        self.steady: Final = SteadyTime(cluster.clock)
        self.index: Final = JobIndex(
            max_jobs,
            max_pods=max_pods,
            monotonic=cluster.clock.monotonic,
            moment=self.steady.of,
            on_turn=self.queue.add,
            on_forgotten=self.queue.unfollow,
        )
        self.manifests: Final = ManifestCache()
        self.recorded: Final = Recorded()
        self.carrier: Final = (
            self._carrier(endpoint, retry_cache_size, namespaces) if endpoint else None
        )
        self.policies: Final = PolicyBook(OPERATOR_NAMESPACE, settings_ttl_s=ttl_s or 0.0)
        self.unreadable: Final = Unreadable(cluster.clock.monotonic)
        self.guard: Final = ClockGuard(cluster.clock, hold_s=600)
        self.remover: Final = Remover(
            cluster, self.policies, events or self.recorded, cluster.clock, self.guard
        )
        self.policy_watch: Final = PolicyWatch(
            cluster,
            self.policies,
            self.index,
            namespaces=namespaces,
            unreadable=self.unreadable,
            look_again=self.queue.add,
            on_forgotten=self.remover.take_removed,
        )
        self.archiver: Final = self._archiver(shelf, max_waiting) if shelf is not None else None
        policy = DecisionSettings(
            recording=endpoint is not None,
            archiving=shelf is not None,
            partial_hold_s=partial_hold_s,
        )
        self.reconciler: Final = Reconciler(
            cluster=cluster,
            index=self.index,
            manifests=self.manifests,
            records=self.carrier.outbox if self.carrier else NoRecords(),
            retention=self.remover if ttl_s is not None else None,
            logs=self.archiver or NoLogArchive(),
            events=events or self.recorded,
            clock=cluster.clock,
            policy=policy,
        )
        self.workers: Final = Workers(self.queue, self.reconciler.reconcile, count=4)
        self.resync: Final = Resync(
            cluster=cluster,
            index=self.index,
            queue=self.queue,
            clock=cluster.clock,
            scope=Scope(namespaces=namespaces, retention_s=lambda: 3600.0),
            interval_s=interval_s,
            policy=policy,
            unreadable=self.unreadable,
        )
        self.intake: Final = Intake(
            self.index, self.manifests, self.queue, cluster.clock, policy=policy
        )
        self._retains: Final = ttl_s is not None
        self._tasks: list[asyncio.Task[None]] = []

    def _carrier(
        self, endpoint: Writer, retry_cache_size: int, namespaces: tuple[str | None, ...]
    ) -> Carrier:
        return Carrier(
            PersistSettings(retry_cache_size=retry_cache_size),
            writer=endpoint,
            jobs=self.cluster,
            index=self.index,
            manifests=self.manifests,
            clock=self.cluster.clock,
            cluster="test",
            namespaces=namespaces,
            on_delivery=self.queue.add,
        )

    def _archiver(self, shelf: LogStore, max_waiting: int) -> Archiver:
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
