"""Goes through all jobs and policies once: stores pending records, and releases our finalizers.

No operator may serve these namespaces meanwhile, or it adds the finalizers again. Pending records
are stored first. If a record cannot be stored, its job is released all the same and keeps the
pending `status.recordState`, so the next install stores the record. The exception is a job that is
being deleted: with its finalizer the job and its record would disappear. So it is not released,
unless its record was rejected, was pending for the maximum time that a deletion waits, or is
discarded. Then the record is passed to the caller before the job is released.
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

TIMEOUT_S: Final = 60.0
"""Seconds for which storing records is tried after the last success."""

_MAX_CONCURRENT: Final = 8
_BACKOFF: Final = Backoff(0.2, 5.0)
_ONE_TRY_S: Final = 10.0
_NOT_STORED: Final = "its record is not stored"


@dataclass
class ReleaseReport:
    """The counts of stored, released and remaining objects.

    Attributes:
        released: number of objects whose finalizer was released.
        stored: number of records stored.
        waiting: number of released jobs whose record stays pending for the next install.
        lost: number of records given up: their jobs are deleted, or will be with the CRD.
        held: objects not released, each with the reason: a record that is not stored, or an error
            of the API server.
    """

    released: int = 0
    stored: int = 0
    waiting: int = 0
    lost: int = 0
    held: list[str] = field(default_factory=list)


class ReleasePass:
    """Goes through all jobs and policies once, and releases their finalizers."""

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
        policies_only: Sequence[str] = (),
        spared: Collection[str] = (),
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            objects: the client for jobs and policies.
            writer: writes one record; None: there is no endpoint.
            cluster: the name of this cluster, for the record.
            namespaces: the namespaces to process; None alone stands for all.
            discard: give up the records of deleted jobs that cannot be stored; else these jobs are
                not released.
            on_lost: takes a record that is given up, before its job is released. It may get the
                same record again if the job changes at that moment.
            settings: how long a deleted job waits for its record.
            clock: the time.
            jobs_go_too: every job will be deleted, not only those that are being deleted now.
            policies_only: further namespaces in which only policies are released.
            spared: namespaces to skip.
        """
        self._objects: Final = objects
        self._writer: Final = writer
        self._cluster: Final = cluster
        self._namespaces: Final = namespaces
        self._policies_only: Final = policies_only
        self._spared: Final = frozenset(spared)
        self._discard: Final = discard
        self._on_lost: Final = on_lost
        self._settings: Final = replace(settings, recording=True, archiving=False)
        self._jobs_go_too: Final = jobs_go_too
        self._clock: Final = clock
        self._until = clock.monotonic() + TIMEOUT_S
        self._report: Final = ReleaseReport()

    async def run(self) -> ReleaseReport:
        """Release every object that may be released.

        Raises:
            KubernetesError: the API server refused, or did not answer; run it again.
        """
        for namespace in self._namespaces:
            async for page in self._objects.list_jobs(namespace):
                held = [raw for raw in self._not_spared(page) if _needs_release(job_view(raw))]
                for batch in batches(held, _MAX_CONCURRENT):
                    # Await all of them, since the caller closes the client after an error.
                    results = await asyncio.gather(
                        *(self._release_job(raw) for raw in batch), return_exceptions=True
                    )
                    for error in (result for result in results if result is not None):
                        raise error
            await self._release_policies(namespace)
        for namespace in self._policies_only:
            await self._release_policies(namespace)
        return self._report

    def _not_spared(self, page: Page) -> list[Object]:
        """Return the objects of a page that are not in a spared namespace."""
        return [raw for raw in page.items if raw["metadata"]["namespace"] not in self._spared]

    async def _release_policies(self, namespace: str | None) -> None:
        async for page in self._objects.list_policies(namespace):
            for raw in self._not_spared(page):
                if FINALIZER_RETENTION in as_dict(raw["metadata"]).get("finalizers", []):
                    await self._remove_finalizer(raw, FINALIZER_RETENTION)

    async def _release_job(self, raw: Object) -> None:
        job = self._with_final_status(job_view(raw))
        if not job.status.record_pending or job.discard_record:
            await self._release(job, raw)
            return
        record = self._record(job, raw)
        is_deleted = self._jobs_go_too or (job.deleting and job.has_record_finalizer)
        result = await self._store(record, once_at_least=is_deleted)
        is_lost = is_deleted and result != "Stored"
        if is_lost and not self._may_lose_record(job, result):
            self._report.held.append(f"{job.key}: {_NOT_STORED}")
            return
        if is_lost:
            self._on_lost(record)
        if await self._release(job, raw):
            self._report.stored += result == "Stored"
            self._report.lost += is_lost
            self._report.waiting += result != "Stored" and not is_lost

    def _may_lose_record(self, job: JobView, result: str) -> bool:
        """True if the record may be lost: discarded, or given up as the operator would do."""
        is_rejected = result == "Rejected" or job.status.record_state == RecordState.REJECTED
        is_overdue = self._clock.now() >= release_deadline(job, self._settings)
        return self._discard or (job.deleting and (is_rejected or is_overdue))

    def _with_final_status(self, job: JobView) -> JobView:
        """Return the job with its final status, if it is being deleted while it runs.

        The operator would have written that status, but is stopped, and the job disappears as soon
        as it is released.
        """
        if not job.deleting or not job.has_record_finalizer or job.status.is_finished:
            return job
        seen = Observation(job=job, pods_are_live=True)
        return replace(job, status=plan(seen, self._settings, now=self._clock.now()).status)

    async def _release(self, job: JobView, raw: Object) -> bool:
        """Release the job's finalizer, if it has it; False: the API server refused."""
        return (
            await self._remove_finalizer(raw, FINALIZER_RECORD)
            if job.has_record_finalizer
            else True
        )

    async def _remove_finalizer(self, raw: Object, finalizer: str) -> bool:
        try:
            await self._objects.remove_finalizer(raw, finalizer)
        except (ConflictError, ForbiddenError, InvalidError) as error:
            # A concurrent write, another object of the same name (the failed `test` of the JSON
            # patch is a 422), or a denial by admission. It must not stop the others; the next run
            # of the command finds the object again.
            metadata = raw["metadata"]
            name = f"{metadata['namespace']}/{metadata['name']}"
            self._report.held.append(f"{name}: {error}")
            return False
        self._report.released += 1
        return True

    def _record(self, job: JobView, raw: Object) -> Object:
        labels = as_dict(raw["metadata"].get("labels"))
        spec = as_dict(raw.get("spec"))
        return build_record(job, job.status, labels=labels, spec=spec, cluster=self._cluster)

    async def _store(self, record: Object, *, once_at_least: bool) -> str:
        """Try to store a record; return `Stored`, `Rejected`, or "" if it could not be stored.

        The limit is a time, not a number of tries, since a refused connection fails at once.
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
                # The operator stored a record, and died before its terminal write. The object is
                # authoritative, and a higher revision wins; see `core.record_lifecycle`.
                record, wait = record | {"revision": 2}, 0.0
            except RecordRejectedError:
                return "Rejected"
            except EndpointUnavailableError as error:
                wait = max(wait, error.retry_after_s)
            except (RecordError, TimeoutError):
                pass
            else:
                self._until = self._clock.monotonic() + TIMEOUT_S
                return "Stored"
            await asyncio.sleep(min(wait, max(self._until - self._clock.monotonic(), 0.0)))
        raise AssertionError  # `count` has no end


def _needs_release(job: JobView) -> bool:
    """True if the job has our finalizer, or its record is pending since an earlier run."""
    return job.has_record_finalizer or job.status.record_pending
