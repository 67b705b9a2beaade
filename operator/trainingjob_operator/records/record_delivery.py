"""The parts that deliver records to the endpoint, wired together."""

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
        cache: the keys that wait.
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
            jobs: where jobs are read and listed.
            index: what is in memory of jobs.
            manifests: what of jobs is too large for the index.
            clock: the time.
            cluster: the name of this cluster, for the record.
            namespaces: where to look for jobs; None alone stands for everywhere.
            on_delivery: called with a key whose record was delivered, for the reconciler.
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
            on_room=self._room_was_made,
            on_missed=self._something_was_missed,
        )
        self.refill: Final = Refill(
            jobs=jobs,
            cache=self.cache,
            clock=clock,
            namespaces=namespaces,
            found=self.outbox,
        )

    def _room_was_made(self) -> None:
        self.refill.poke()

    def _something_was_missed(self) -> None:
        self.refill.look_again()

    def start(self) -> list[asyncio.Task[Any]]:
        """Start to deliver; cancel the tasks to stop. What was under way waits in the cluster."""
        return [
            asyncio.create_task(self.outbox.run(), name="outbox"),
            asyncio.create_task(self.refill.run(), name="refill"),
        ]


class NoRecords:
    """The outbox while no endpoint is set. Nothing is lost of what is owed.

    A job that owes a record from before keeps its finalizer, and waits for an endpoint.
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
