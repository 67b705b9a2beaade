"""For the day the operator goes, or leaves a namespace: frees every object that our finalizers hold.

Run it where no operator serves, or it puts them back. Records that wait are stored first. One
that cannot be stored stays owed: its job is freed of the finalizer and goes on saying so in
`status.recordState`, and the next install stores it. Only a job that ends with its finalizer,
because somebody has deleted it, would take its record along: it stays held, unless its record was
rejected, has waited for as long as a deletion waits at most, or is discarded. Then the record goes
where the caller says, before the job goes.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final

from trainingjob_api.constants import FINALIZER_RECORD, FINALIZER_RETENTION
from trainingjob_api.errors import (
    ConflictError,
    EndpointUnavailableError,
    ForbiddenError,
    InvalidError,
    RecordConflictError,
    RecordError,
    RecordRejectedError,
)
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.backoff import Backoff, batches
from trainingjob_operator.core.decision import DecisionSettings, Observation
from trainingjob_operator.core.job import JobView, RecordState
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.core.plan import plan
from trainingjob_operator.core.record import build_record
from trainingjob_operator.core.record_lifecycle import release_deadline
from trainingjob_operator.core.untyped_json import as_dict
from trainingjob_operator.kube.cluster import Cluster, Object, Page
from trainingjob_operator.records.outbox import Writer

PATIENCE_S: Final = 60.0
"""For so long records are tried after the last one that was stored."""

_AT_ONCE: Final = 8
_BACKOFF: Final = Backoff(0.2, 5.0)
_ONE_TRY_S: Final = 10.0
_NOT_STORED: Final = "its record is not stored"


@dataclass
class Account:
    """Counts of what was stored, released and left.

    Attributes:
        released: objects that nothing of ours holds any more.
        stored: records that were stored on the way.
        waiting: jobs that were freed, and in whose status a record waits for the next install.
        lost: records that were given up: their jobs are gone, or go with their definition.
        held: what is still held: its record is not stored, or what the API server said.
    """

    released: int = 0
    stored: int = 0
    waiting: int = 0
    lost: int = 0
    held: list[str] = field(default_factory=list)


class FinalizerRelease:
    """Walks over all jobs and policies once."""

    def __init__(
        self,
        objects: Cluster,
        writer: Writer | None,
        *,
        cluster: str,
        namespaces: Sequence[str | None],
        discard: bool,
        on_lost: Callable[[Object], None],
        settings: DecisionSettings,
        clock: Clock,
        jobs_go_too: bool = False,
        policies_too: Sequence[str] = (),
        spared: Collection[str] = (),
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            objects: where jobs and policies are.
            writer: writes one record; None: there is no endpoint.
            cluster: the name of this cluster, for the record.
            namespaces: where to look; None alone stands for everywhere.
            discard: give up what cannot be stored of jobs that go; else they are held.
            on_lost: takes a record that is given up, before its job is freed. It can come again,
                when the job changes just then.
            settings: for how long a deleted job waits for its record.
            clock: the time.
            jobs_go_too: every job will be deleted, not only those that somebody has deleted.
            policies_too: where to look for policies beside that.
            spared: namespaces whose objects stay as they are.
        """
        self._objects: Final = objects
        self._writer: Final = writer
        self._cluster: Final = cluster
        self._namespaces: Final = namespaces
        self._policies_too: Final = policies_too
        self._spared: Final = frozenset(spared)
        self._discard: Final = discard
        self._on_lost: Final = on_lost
        self._settings: Final = replace(settings, recording=True, archiving=False)
        self._jobs_go_too: Final = jobs_go_too
        self._clock: Final = clock
        self._until = clock.monotonic() + PATIENCE_S
        self._account: Final = Account()

    async def run(self) -> Account:
        """Free everything that may go.

        Raises:
            KubernetesError: the API server refused, or did not answer; run it again.
        """
        for namespace in self._namespaces:
            async for page in self._objects.list_jobs(namespace):
                held = [raw for raw in self._chosen(page) if _is_of_use(job_view(raw))]
                for batch in batches(held, _AT_ONCE):
                    # Let all of them end: a client that is closed below them tells nothing.
                    results = await asyncio.gather(
                        *(self._free_job(raw) for raw in batch), return_exceptions=True
                    )
                    for error in (result for result in results if result is not None):
                        raise error
            await self._free_policies(namespace)
        for namespace in self._policies_too:
            await self._free_policies(namespace)
        return self._account

    def _chosen(self, page: Page) -> list[Object]:
        """Return the objects of a page that are not in a namespace that is spared."""
        return [raw for raw in page.items if raw["metadata"]["namespace"] not in self._spared]

    async def _free_policies(self, namespace: str | None) -> None:
        async for page in self._objects.list_policies(namespace):
            for raw in self._chosen(page):
                if FINALIZER_RETENTION in as_dict(raw["metadata"]).get("finalizers", []):
                    await self._free(raw, FINALIZER_RETENTION)

    async def _free_job(self, raw: Object) -> None:
        job = self._ended(job_view(raw))
        if not job.status.record_waits or job.discard_record:
            await self._release(job, raw)
            return
        record = self._record(job, raw)
        goes = self._jobs_go_too or (job.deleting and job.owes_record)
        result = await self._store(record, once_at_least=goes)
        is_lost = goes and result != "Stored"
        if is_lost and not self._may_be_lost(job, result):
            self._account.held.append(f"{job.key}: {_NOT_STORED}")
            return
        if is_lost:
            self._on_lost(record)
        if await self._release(job, raw):
            self._account.stored += result == "Stored"
            self._account.lost += is_lost
            self._account.waiting += result != "Stored" and not is_lost

    def _may_be_lost(self, job: JobView, result: str) -> bool:
        """True if the job may go without its record: as the operator lets it go, or discarded."""
        is_rejected = result == "Rejected" or job.status.record_state == RecordState.REJECTED
        is_overdue = self._clock.now() >= release_deadline(job, self._settings)
        return self._discard or (job.deleting and (is_rejected or is_overdue))

    def _ended(self, job: JobView) -> JobView:
        """The job with the status that it would end with, if it is being deleted while it runs.

        The operator, which would have written that, is gone; the job goes with its finalizer.
        """
        if not job.deleting or not job.owes_record or job.status.is_finished:
            return job
        seen = Observation(job=job, pods_are_live=True)
        return replace(job, status=plan(seen, self._settings, now=self._clock.now()).status)

    async def _release(self, job: JobView, raw: Object) -> bool:
        """Take the finalizer off a job that has it; False: that was refused."""
        return await self._free(raw, FINALIZER_RECORD) if job.owes_record else True

    async def _free(self, raw: Object, finalizer: str) -> bool:
        try:
            await self._objects.remove_finalizer(raw, finalizer)
        except (ConflictError, ForbiddenError, InvalidError) as error:
            # Somebody writes to it just now, or it is a namesake's by now (a failed `test` of a
            # JSON patch is a 422), or somebody's admission says no. That must not hold the others;
            # it is found again when this is run again.
            metadata = raw["metadata"]
            name = f"{metadata['namespace']}/{metadata['name']}"
            self._account.held.append(f"{name}: {error}")
            return False
        self._account.released += 1
        return True

    def _record(self, job: JobView, raw: Object) -> Object:
        labels = as_dict(raw["metadata"].get("labels"))
        spec = as_dict(raw.get("spec"))
        return build_record(job, job.status, labels=labels, spec=spec, cluster=self._cluster)

    async def _store(self, record: Object, *, once_at_least: bool) -> str:
        """Try to store a record: `Stored`, `Rejected`, or "" if the endpoint did not take it.

        A refused connection is answered at once: what counts is the time, not the tries.
        """
        for number in count():
            left = self._until - self._clock.monotonic()
            out_of_time = left <= 0 and not (once_at_least and number == 0)
            if self._writer is None or out_of_time:
                return ""
            wait = _BACKOFF.wait_s(number + 1)
            try:
                async with asyncio.timeout(max(left, _ONE_TRY_S)):
                    await self._writer.write(record)
            except RecordConflictError:
                if record["revision"] > 1:
                    return "Rejected"
                # Stored before the terminal write, and then the process died. The object is the
                # truth, and a higher revision wins; see `core.record_lifecycle`.
                record, wait = record | {"revision": 2}, 0.0
            except RecordRejectedError:
                return "Rejected"
            except EndpointUnavailableError as error:
                wait = max(wait, error.retry_after_s)
            except (RecordError, TimeoutError):
                pass
            else:
                self._until = self._clock.monotonic() + PATIENCE_S
                return "Stored"
            await asyncio.sleep(min(wait, max(self._until - self._clock.monotonic(), 0.0)))
        raise AssertionError  # `count` has no end


def _is_of_use(job: JobView) -> bool:
    """True if the job is held by us, or its record waits, as an earlier run has left it."""
    return job.owes_record or job.status.record_waits
