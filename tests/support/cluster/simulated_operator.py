"""Runs the operator's engine on the in-memory cluster and its watches."""

from types import TracebackType
from typing import Any, Final, Self

from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.memory_log_store import MemoryLogStore
from trainingjob_operator.engine import Engine
from trainingjob_operator.jobs.memory_use import MemoryUse
from trainingjob_operator.log_archive.log_volume import LogVolume, Sweep
from trainingjob_operator.log_archive.protocols import LogStore
from trainingjob_operator.observability.metrics import Metrics
from trainingjob_operator.records.outbox import Writer
from trainingjob_operator.settings import (
    GcSettings,
    IndexSettings,
    PersistSettings,
    ReconcilerSettings,
    RestartSettings,
    Settings,
    VolumeSettings,
)
from trainingjob_operator.volume.identity import Identity
from trainingjob_operator.volume.sweep.rules import LiveJobs, VolumeReport

OPERATOR_NAMESPACE: Final = "ops"
LONG_S: Final = 2_000_000_000.0
"""For ever, as far as a test can tell."""


def settings_of(
    *,
    max_jobs: int = 100,
    max_pods: int = 100_000,
    interval_s: float = 300.0,
    namespaces: tuple[str | None, ...] = (None,),
    recording: bool = False,
    retry_cache_size: int = 1000,
    ttl_s: float | None = None,
    gc_interval_s: float = 600.0,
    index_retention_s: float = 3600.0,
    archiving: bool = False,
    partial_hold_s: float = 60.0,
) -> Settings:
    """Return settings of a small operator, with limits below the permitted minimum."""
    return Settings.model_construct(
        namespaces=tuple(each for each in namespaces if each is not None),
        cluster_name="test",
        operator_namespace=OPERATOR_NAMESPACE,
        index=IndexSettings.model_construct(
            max_jobs=max_jobs, max_pods=max_pods, retention=index_retention_s
        ),
        reconciler=ReconcilerSettings.model_construct(workers=4, resync_interval=interval_s),
        restart=RestartSettings(partial_hold=partial_hold_s),
        persist=PersistSettings(
            url="https://records.example/jobs" if recording else "",
            retry_cache_size=retry_cache_size,
        ),
        gc=GcSettings(ttl=LONG_S if ttl_s is None else ttl_s, interval=gc_interval_s),
        volume=VolumeSettings(root="/volume" if archiving else ""),
    )


def half_full() -> MemoryUse:
    """Return a memory usage without memory pressure."""
    return MemoryUse(50, 100, "cgroup")


class NothingToSweep:
    """The sweep of an empty volume."""

    async def sweep_in_thread(self, live: LiveJobs, *, max_age_s: float) -> VolumeReport:
        return VolumeReport()


class SimulatedOperator(Engine):
    """One life of an operator process on a cluster.

    As a context manager it lists, watches and works until the exit; otherwise, its components can be used separately.
    """

    def __init__(
        self,
        cluster: FakeCluster,
        *,
        endpoint: Writer | None = None,
        store: LogStore | None = None,
        sweep: Sweep | None = None,
        max_waiting: int = 1000,
        metrics: Metrics | None = None,
        **wanted: Any,
    ) -> None:
        """Build it.

        Args:
            cluster: the API server.
            endpoint: where records go.
            store: where logs are archived.
            sweep: removes old files; with one of the two there is a log volume.
            max_waiting: pods whose logs wait, at most.
            metrics: where passes and sweeps are counted.
            wanted: see `settings_of`.
        """
        self.cluster: Final = cluster
        volume = None
        if store is not None or sweep is not None:
            volume = LogVolume(
                identity=Identity("test", ()),
                store=store or MemoryLogStore(cluster),
                sweep=sweep or NothingToSweep(),
                max_waiting=max_waiting,
            )
        metrics = metrics or Metrics()
        super().__init__(
            settings_of(recording=endpoint is not None, archiving=store is not None, **wanted),
            cluster,
            cluster.clock,
            namespace=OPERATOR_NAMESPACE,
            on_pass=metrics.passes.observe,
            counts=metrics.gc,
            endpoint=endpoint,
            volume=volume,
            read_memory=half_full,
        )

    async def __aenter__(self) -> Self:
        await self.start()
        self.cluster.connect(self.watch_events)
        self.cluster.policy_watch.deliver = self.policy_watch.policy_event
        self.resync.request()  # this watch starts now, not at the list's resource version as a real one does
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()
        self.cluster.disconnect()
