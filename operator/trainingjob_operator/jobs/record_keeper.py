"""The record steps of a pass: claims the job with a finalizer, stores its record, releases it.

Claim: the finalizer is added before the job's first pod exists. Release: it is removed last of all,
once status says that the record is stored or given up.
"""

import logging
from typing import Any, Final

from trainingjob_api.constants import (
    ANNOTATION_DISCARD_RECORD,
    CONDITION_COMPLETE,
    FINALIZER_RECORD,
    REASON_FINALIZER_REFUSED,
    REASON_FORBIDDEN,
)
from trainingjob_api.errors import ConflictError, KubernetesError
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.decision import DecisionSettings, Event, Plan
from trainingjob_operator.core.fast_replace import replace_fields
from trainingjob_operator.core.job import JobStatus, JobView, RecordState
from trainingjob_operator.core.job_stage import Stage, stage_of
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.core.readiness import blocked_status
from trainingjob_operator.core.record import build_record, record_line
from trainingjob_operator.core.record_lifecycle import may_release, stored
from trainingjob_operator.core.status_draft import StatusDraft
from trainingjob_operator.core.suspension import is_settled
from trainingjob_operator.core.untyped_json import as_dict, as_strs
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.manifest_cache import ManifestCache
from trainingjob_operator.jobs.protocols import Recorder, Records
from trainingjob_operator.kube.cluster import Cluster

_ABANDONED: Final = "RecordAbandoned"
_logger = logging.getLogger(__name__)


class RecordKeeper:
    """Ensures that no job is deleted without its record, and that no record holds a job for ever."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        index: JobIndex,
        manifests: ManifestCache,
        records: Records,
        events: Recorder,
        clock: Clock,
        settings: DecisionSettings,
        cluster_name: str,
    ) -> None:
        self._cluster: Final = cluster
        self._index: Final = index
        self._manifests: Final = manifests
        self._records: Final = records
        self._events: Final = events
        self._clock: Final = clock
        self._settings: Final = settings
        self._cluster_name: Final = cluster_name
        self.abandoned_total = 0

    async def claim(self, job: JobView) -> None:
        """Add the finalizer to a job, before anything else is done for it.

        Raises:
            ConflictError: the job has changed since; make another pass.
        """
        answer = await self._cluster.set_record_finalizer(job, present=True)
        self.observe(job, answer)
        if answer is not None and FINALIZER_RECORD not in _finalizers(answer):
            # An admission webhook removes it. An immediate retry would loop for ever.
            raise ConflictError(
                f"the finalizer {FINALIZER_RECORD} was added, but is missing in the response"
            )

    def unclaimed_status(self, job: JobView, error: KubernetesError) -> JobStatus:
        """Return the status of a job whose claim is refused by admission.

        A job that never started gets the reason in its status. One that runs gets an Event, since
        its status describes its ranks.
        """
        why = (
            f"the finalizer {FINALIZER_RECORD} cannot be added to the job, and the operator does "
            "nothing for the job before that; allow it, or give the job's record up (annotation "
            f'{ANNOTATION_DISCARD_RECORD}: "true"): {error}'
        )
        if job.status.never_started:
            return blocked_status(job, REASON_FORBIDDEN, why, now=self._clock.now())
        event = Event(reason=REASON_FINALIZER_REFUSED, message=why, warning=True)
        self._events.record(job, event)
        return job.status

    def report_unreleased(self, job: JobView, error: KubernetesError) -> None:
        """Record an Event about a job whose release is refused by admission."""
        why = (
            f"the finalizer {FINALIZER_RECORD} cannot be removed from the job, which cannot be "
            f"deleted before that; allow it: {error}"
        )
        event = Event(reason=REASON_FINALIZER_REFUSED, message=why, warning=True)
        self._events.record(job, event)

    async def release(self, job: JobView, *, abandon: bool) -> None:
        """Remove the finalizer from a job; a job that its user has deleted then disappears.

        Raises:
            ConflictError: the job has changed since; make another pass.
        """
        if abandon:
            await self._report_abandoned(job)
        self.observe(job, await self._cluster.set_record_finalizer(job, present=False))

    def observe(self, job: JobView, answer: dict[str, Any] | None) -> None:
        """Update the index and the manifest cache from the response to a write, before its watch event."""
        if answer is None:
            self._index.forget_job(job.key, job.uid)
            self._manifests.drop(job.key)
            return
        view = self._known(job, answer) or job_view(answer)
        if job.key in self._index:
            self._index.observe_job(view)
        if view.has_record_finalizer and view.invalid is None and self._waits(view):
            self._manifests.remember(view, answer, now=self._clock.monotonic())
        else:
            self._manifests.drop(job.key)

    def _known(self, job: JobView, answer: dict[str, Any]) -> JobView | None:
        """Return the index's job if it has the response's version: the watch event came first."""
        metadata, entry = as_dict(answer.get("metadata")), self._index.get(job.key)
        names = metadata.get("uid"), metadata.get("resourceVersion")
        if entry is None or names != (entry.job.uid, entry.job.resource_version):
            return None
        return entry.job

    async def store_before_status(self, job: JobView, decided: Plan) -> Plan:
        """Store the record of a job before its terminal status is written, if that takes a moment.

        Only if every rank has completed: nothing that the user does meanwhile changes that outcome.
        If the process dies in between, the next one finds the ranks complete again and stores the
        record again; where the two differ, the second revision wins. A terminal status that is
        already written and has waited for logs does not change either.
        """
        status = decided.status
        ends_now = job.status.record_state is None and status.is_true(CONDITION_COMPLETE)
        awaited_logs = stage_of(job) is Stage.LOGS
        is_due = status.record_state == RecordState.PENDING and not status.logs_pending
        if not is_due or not (ends_now or awaited_logs):
            return decided
        if not await self._records.store_at_once(job, status):
            return decided
        now = self._clock.now()
        status = stored(StatusDraft.of(job, status=status, now=now)).status
        release = may_release(status, job, self._settings, now=now)
        return replace_fields(decided, status=status, release=release, abandon=False)

    def offer_or_forget(self, job: JobView) -> None:
        """Offer a pending record to the outbox after the status write, or forget a written delivery."""
        if not job.status.is_finished:
            return
        delivery = self._records.delivery_of(job)
        if delivery is not None and delivery.revision != job.status.record_revision:
            self._records.forget_delivery(job.key)
        if job.status.logs_pending:
            return  # the record contains the result of the logs
        if job.status.record_state == RecordState.PENDING:
            self._records.offer(job.key)
        else:
            self._records.forget_delivery(job.key)

    def forget_old_delivery(self, job: JobView) -> None:
        """Forget a delivery after a pass without a status write: the status contains it already.

        A delivery of a revision that the index has not seen yet is kept.
        """
        delivery, revision = self._records.delivery_of(job), job.status.record_revision
        if delivery is None or not job.status.is_finished:
            return
        if revision is None or delivery.revision <= revision:
            self._records.forget_delivery(job.key)

    def _waits(self, job: JobView) -> bool:
        """True if the manifest should stay cached: the record is still to come, or is being sent.

        It is not cached while the endpoint is down, nor for settled (suspended) jobs.
        """
        going_out = (
            job.status.record_state == RecordState.PENDING and not self._records.endpoint_is_down
        )
        return not (job.status.is_finished or is_settled(job, self._settings)) or going_out

    async def _report_abandoned(self, job: JobView) -> None:
        """Report a job that is released without a stored record: an Event, a counter, the log.

        The log line contains the record itself.
        """
        manifest = self._manifests.get(job)
        labels, spec = (manifest.labels, manifest.spec) if manifest is not None else ({}, {})
        if manifest is None and (raw := await self._cluster.get_job(job.key)) is not None:
            metadata = as_dict(raw.get("metadata"))
            if metadata.get("uid") == job.uid:
                labels, spec = as_dict(metadata.get("labels")), as_dict(raw.get("spec"))
        record = build_record(
            job, job.status, labels=labels, spec=spec, cluster=self._cluster_name
        )
        self.abandoned_total += 1
        _logger.error(
            "job %s is released without a stored record: %s", job.key, record_line(record)
        )
        why = "its record is not stored; the operator's log contains it"
        self._events.record(job, Event(reason=_ABANDONED, message=why, warning=True))


def _finalizers(raw: dict[str, Any]) -> tuple[str, ...]:
    return as_strs(as_dict(raw.get("metadata")).get("finalizers"))
