"""Handles watch events: updates the index, and adds the job's key to the queue. Nothing else."""

from typing import Any, Final

from trainingjob_api.constants import LABEL_JOB_NAME
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.attempt import should_run
from trainingjob_operator.core.decision import DecisionSettings
from trainingjob_operator.core.job import JobKey, JobView, is_newer
from trainingjob_operator.core.job_stage import awaits_release
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.core.observe_pod import pod_view
from trainingjob_operator.core.plan import is_ours
from trainingjob_operator.core.pod import PodView
from trainingjob_operator.core.readiness import says_queued
from trainingjob_operator.core.suspension import is_settled
from trainingjob_operator.core.untyped_json import as_dict, as_str
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.manifest_cache import ManifestCache
from trainingjob_operator.jobs.work_queue import WorkQueue

ADDED: Final = "ADDED"
DELETED: Final = "DELETED"


class WatchEventHandler:
    """Handles the events of jobs and pods, in whatever order they arrive."""

    def __init__(
        self,
        index: JobIndex,
        manifests: ManifestCache,
        queue: WorkQueue[JobKey],
        clock: Clock,
        *,
        settings: DecisionSettings,
    ) -> None:
        self._index: Final = index
        self._manifests: Final = manifests
        self._queue: Final = queue
        self._clock: Final = clock
        self._settings: Final = settings

    def job_event(self, kind: str | None, raw: dict[str, Any]) -> None:
        """Handle a TrainingJob that was listed (None), ADDED, MODIFIED or DELETED."""
        if kind == DELETED:
            self._job_gone(job_view(raw))
        elif not self._has_job(raw):
            job = job_view(raw)
            if is_ours(job):
                self._job_changed(kind, job, raw)

    def _job_gone(self, job: JobView) -> None:
        # A job that the index evicted before may still have a delayed key in the queue.
        if self._index.forget_job(job.key, job.uid) or job.key not in self._index:
            self._queue.drop(job.key)
            self._manifests.drop(job.key)

    def _job_changed(self, kind: str | None, job: JobView, raw: dict[str, Any]) -> None:
        known = self._index.get(job.key)
        if known is None and job.status.is_finished:
            # The index evicted it, or never had it; the resync adds it again if it is needed.
            if awaits_release(job):
                self._queue.add(job.key)
            return
        if known is None and is_settled(job, self._settings):
            return  # suspended, nothing to do; there can be any number of these
        is_in = self._index.observe_job(job)
        if is_in and kind == ADDED and _will_start(job):
            self._manifests.remember(job, raw, now=self._clock.monotonic())
        if is_in or not (says_queued(job.status) and should_run(job)):
            self._queue.add(job.key)

    def pod_event(self, kind: str | None, raw: dict[str, Any]) -> None:
        """Handle a pod with our label that was listed (None), ADDED, MODIFIED or DELETED."""
        if kind != DELETED and self._has_pod(raw):
            return
        pod = pod_view(raw)
        if pod is None:
            return
        if kind == DELETED:
            has_changed = self._index.forget_pod(pod, is_final=True)
        else:
            has_changed = self._index.observe_pod(pod) or self._is_not_followed(pod)
        if has_changed:
            self._queue.add(JobKey(pod.namespace, pod.job_name))

    def _has_job(self, raw: dict[str, Any]) -> bool:
        """True if the index has this version of a job, or a newer one.

        Mostly the event reports our own write, as two of three events of a job do. Nothing else of
        such an event is parsed.
        """
        metadata = as_dict(raw.get("metadata"))
        entry = self._index.get(
            JobKey(as_str(metadata.get("namespace")), as_str(metadata.get("name")))
        )
        return entry is not None and not is_newer(_version(metadata), entry.job.resource_version)

    def _has_pod(self, raw: dict[str, Any]) -> bool:
        """True if the index has this version of a pod, or a newer one; see `_has_job`."""
        metadata = as_dict(raw.get("metadata"))
        job_name = as_str(as_dict(metadata.get("labels")).get(LABEL_JOB_NAME))
        entry = self._index.get(JobKey(as_str(metadata.get("namespace")), job_name))
        known = entry.pods.get(as_str(metadata.get("name"))) if entry is not None else None
        return known is not None and not is_newer(_version(metadata), known.resource_version)

    def _is_not_followed(self, pod: PodView) -> bool:
        """True if a pod runs whose job is not followed: it may have to be deleted."""
        key = JobKey(pod.namespace, pod.job_name)
        is_followed = key in self._index or key in self._index.waiting
        return not (is_followed or pod.is_terminal)


def _version(metadata: dict[str, Any]) -> str:
    return as_str(metadata.get("resourceVersion"))


def _will_start(job: JobView) -> bool:
    """True if the job is new, and nothing keeps its first pods from being created."""
    is_new = job.status.never_started and not job.status.conditions
    return is_new and should_run(job)
