"""Wires the retry cache, the outbox and the refill together; `NoRecords` replaces them all."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from trainingjob_operator.clock import Clock
from trainingjob_operator.core.decision import Delivery
from trainingjob_operator.core.job import JobKey, JobStatus, JobView
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.manifest_cache import ManifestCache
from trainingjob_operator.kube.cluster import Cluster
from trainingjob_operator.records.outbox import Outbox, Writer
from trainingjob_operator.records.refill import Refill
from trainingjob_operator.records.retry_cache import RetryCache
from trainingjob_operator.settings import PersistSettings


class RecordDelivery:
    """Retry cache, outbox and refill.

    Attributes:
        outbox: the part that the reconciler uses.
        cache: the waiting keys.
    """

    def __init__(
        self,
        settings: PersistSettings,
        *,
        writer: Writer,
        jobs: Cluster,
        index: JobIndex,
        manifests: ManifestCache,
        clock: Clock,
        cluster: str,
        namespaces: Sequence[str | None],
        on_delivery: Callable[[JobKey], None],
    ) -> None:
        """Build the parts; nothing runs yet.

        Args:
            settings: all bounds.
            writer: writes one record.
            jobs: the API server, where jobs are read and listed.
            index: the jobs in memory.
            manifests: the cached specs of jobs.
            clock: the time.
            cluster: the name of this cluster, for the record.
            namespaces: the namespaces of the jobs; None alone stands for all.
            on_delivery: called with the key of a delivered record, to enqueue it for the reconciler.
        """
        self.cache: Final = RetryCache(settings.retry_cache_size)
        self.outbox: Final = Outbox(
            writer=writer,
            jobs=jobs,
            index=index,
            manifests=manifests,
            cache=self.cache,
            clock=clock,
            cluster=cluster,
            concurrency=settings.concurrency,
            on_delivery=on_delivery,
            on_room=self._wake_refill,
            on_missed=self._request_walk,
        )
        self.refill: Final = Refill(
            jobs=jobs,
            cache=self.cache,
            clock=clock,
            namespaces=namespaces,
            outbox=self.outbox,
        )

    def _wake_refill(self) -> None:
        self.refill.wake()

    def _request_walk(self) -> None:
        self.refill.request_walk()

    def start(self) -> list[asyncio.Task[Any]]:
        """Start the tasks; cancel them to stop. Unfinished records still wait in the cluster."""
        return [
            asyncio.create_task(self.outbox.run(), name="outbox"),
            asyncio.create_task(self.refill.run(), name="refill"),
        ]


class NoRecords:
    """The outbox if no endpoint is set: stores nothing, and loses nothing.

    A job that was claimed before, while an endpoint was set, keeps its finalizer and waits for one.
    """

    endpoint_is_down: Final = False

    def offer(self, key: JobKey) -> None:
        """Do nothing: the job waits in the cluster."""

    def delivery_of(self, job: JobView) -> Delivery | None:
        """Return None: nothing is ever delivered."""
        return None

    def forget_delivery(self, key: JobKey) -> None:
        """Do nothing: nothing was remembered."""

    async def store_at_once(self, job: JobView, status: JobStatus) -> bool:
        """Return False: nothing is stored."""
        return False
