"""Reconciles one job: observe, decide, write status, act.

1. Observe: take the job and its pods from the index.
2. Decide with one pure function (`core.plan`).
3. If pods are missing, read the job live, create them, and decide again with the result. Only
   creation may come before the status write, because the names of pods are deterministic.
4. Write the decision into status, in one write, only if status differs.
5. Act: delete pods, only because the written status says so.

One worker at a time works on a key. The index can change at every await, so each decision and its
status write are prepared between two awaits.
"""

import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from trainingjob_api.constants import REASON_QUEUED
from trainingjob_api.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
)
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.attempt import should_run
from trainingjob_operator.core.decision import DecisionSettings, Observation, Plan
from trainingjob_operator.core.job import JobKey, JobView, changed_fields
from trainingjob_operator.core.job_stage import Stage, stage_of
from trainingjob_operator.core.naming import format_indexes
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.core.plan import is_ours, plan
from trainingjob_operator.core.progress import progress_between
from trainingjob_operator.core.readiness import blocked_status
from trainingjob_operator.core.status_wire import status_patch, status_write
from trainingjob_operator.core.suspension import is_settled, suspended_at
from trainingjob_operator.core.transitions import events_between
from trainingjob_operator.jobs.job_entry import JobEntry
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.live_reader import LiveReader
from trainingjob_operator.jobs.log_keeper import ASK_FOR_ROOM_S, LogKeeper
from trainingjob_operator.jobs.manifest_cache import ManifestCache
from trainingjob_operator.jobs.pod_creator import PodCreator
from trainingjob_operator.jobs.pod_deleter import PodDeleter
from trainingjob_operator.jobs.protocols import Logs, Recorder, Records
from trainingjob_operator.jobs.record_keeper import RecordKeeper
from trainingjob_operator.jobs.starter import PassSteps, Starter
from trainingjob_operator.jobs.status_throttle import StatusThrottle
from trainingjob_operator.kube.cluster import Cluster

AT_ONCE: Final = 0.0
UNPLACED_RETRY_S: Final = 5.0
"""Seconds between two passes over a job whose pods are being deleted while it waits for an entry."""

LONGEST_WAIT_S: Final = 3600.0
"""The longest delay of a pass in the queue; what is due later is left to the sweep."""

_REFUSALS: Final = (ConflictError, ForbiddenError, InvalidError)
_logger = logging.getLogger(__name__)


class Reconciler:
    """Moves one job at a time towards its spec. Independent of kopf and of the queue."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        index: JobIndex,
        manifests: ManifestCache,
        events: Recorder,
        clock: Clock,
        settings: DecisionSettings,
        records: Records,
        when_finished: Callable[[JobView], Awaitable[float | None]] | None = None,
        logs: Logs,
        accelerators: Collection[str] = (),
        cluster_name: str = "default",
        is_busy: Callable[[], bool] = lambda: False,
        on_rewind: Callable[[str], object] = lambda why: None,
    ) -> None:
        # `when_finished`: deletes a job if its retention is over; else returns the seconds until then
        # (None: not soon). `is_busy`: True if other jobs wait for a worker; then writes of mere
        # progress are postponed.
        self._cluster: Final = cluster
        self._index: Final = index
        self._manifests: Final = manifests
        self._records: Final = records
        self._ask_retention: Final = when_finished
        self._logs: Final = logs
        self._events: Final = events
        self._clock: Final = clock
        self._settings: Final = settings
        self._throttle: Final = StatusThrottle(is_busy)
        self._record_keeper: Final = RecordKeeper(
            cluster=cluster,
            index=index,
            manifests=manifests,
            records=records,
            events=events,
            clock=clock,
            settings=settings,
            cluster_name=cluster_name,
        )
        self._log_keeper: Final = LogKeeper(logs)
        self.live: Final = LiveReader(cluster, index, on_rewind=on_rewind)
        self._pod_deleter: Final = PodDeleter(cluster, index)
        self.starter: Final = Starter(
            index=index,
            manifests=manifests,
            clock=clock,
            launcher=PodCreator(cluster, index, clock, accelerators=accelerators),
            pass_=PassSteps(self.live.read_job, self._decide, self._log_keeper.make_directory),
        )

    @property
    def abandoned_total(self) -> int:
        """Number of jobs released without a stored record."""
        return self._record_keeper.abandoned_total

    async def reconcile(self, key: JobKey) -> float | None:
        """Make one pass over a job.

        Returns:
            Seconds until the next pass if nothing changes before; None: no further pass is needed.

        Raises:
            KubernetesError: the pass could not be finished; retry it later.
        """
        entry = self._index.get(key)
        if entry is None:
            return await self._admit(key)
        if not entry.pods_known:
            await self.live.read_pods(entry)
        decided = self._decide(entry)
        if decided.needs_live_pods:
            await self.live.read_pods(entry)
            decided = self._decide(entry, pods_are_live=True)
        if decided.claim:
            return await self._claim(entry)
        if decided.create:
            if not await self.starter.create(entry, decided):
                return AT_ONCE
            decided = self._decide(entry)
        if self._index.get(key) is not entry:
            return AT_ONCE  # recreated under the same name meanwhile
        if decided.needs_live_pods:
            return AT_ONCE  # a pod was deleted while others were created
        if decided.create and entry.refusal is None:
            # Created, but missing: another program alters our pods. The error makes the queue back
            # off; an immediate retry would loop for ever.
            ranks = format_indexes(decided.create)
            raise ConflictError(f"pods of ranks {ranks} were created, but are missing")
        return await self._write_and_act(entry, decided)

    def _decide(self, entry: JobEntry, *, pods_are_live: bool = False) -> Plan:
        seen = Observation(
            job=entry.job,
            pods=tuple(entry.pods.values()),
            vanished=entry.vanished,
            done=entry.done,
            refusal=entry.refusal,
            pods_are_live=pods_are_live,
            delivery=self._records.delivery_of(entry.job),
            endpoint_is_down=self._records.endpoint_is_down,
            logs=self._logs.outcomes_of(entry.job),
            volume_error=self._logs.volume_error,
            unbegun=entry.unbegun,
            begun=entry.begun,
            ended=tuple(entry.ended.values()) if entry.ended else (),
        )
        return plan(seen, self._settings, now=self._clock.now())

    async def _write_and_act(self, entry: JobEntry, decided: Plan) -> float | None:
        job = entry.job
        has_room = self._log_keeper.request_early(job, decided)
        if (wait := self._progress_wait_s(entry, decided)) > 0:
            wait = wait if has_room else min(wait, ASK_FOR_ROOM_S)
            return min(wait, self._due_s(decided, wait))
        written = await self._write(entry, decided)
        if written is None:
            return AT_ONCE
        has_room = self._log_keeper.request(job, written) and has_room
        try:
            await self._pod_deleter.delete(job.key, written.delete)
        except ConflictError:
            # Mostly, a pod has begun since: its log must be archived first. The retry backs off,
            # since a pod that another program keeps changing would be read for ever.
            entry.pods_known = False
            raise
        self._log_keeper.forget(entry)
        if written.release:
            return await self._release(entry.job, abandon=written.abandon)
        return await self._next_pass(entry, written, has_room=has_room)

    def _progress_wait_s(self, entry: JobEntry, decided: Plan) -> float:
        """Return for how many seconds to postpone a status write that reports mere progress."""
        old, new = entry.job.status, decided.status
        if old == new:
            entry.progress_at = None
        is_remembered = self._index.get(entry.job.key) is entry
        if old == new or decided.delete or decided.release or not is_remembered:
            return 0.0
        progress = progress_between(old, new, entry.pods.values())
        if progress is None:
            return 0.0
        now = self._clock.monotonic()
        if entry.progress_at is None:
            entry.progress_at = now
        return self._throttle.wait_s(
            progress, since_write_s=now - entry.written_at, since_seen_s=now - entry.progress_at
        )

    async def _write(self, entry: JobEntry, decided: Plan) -> Plan | None:
        """Write the status, if it differs, and offer the job's record to the outbox.

        Returns:
            The plan, updated if the record was stored at once; None: the job has changed.
        """
        job = entry.job
        if job.status == decided.status:
            self._record_keeper.forget_old_delivery(job)
            return decided if not decided.delete or await self.live.is_unchanged(job) else None
        decided = await self._record_keeper.store_before_status(job, decided)
        if not await self._write_status(entry, job, decided):
            return None
        self._record_keeper.offer_or_forget(entry.job)
        return decided

    async def _next_pass(self, entry: JobEntry, decided: Plan, *, has_room: bool) -> float | None:
        """Return the seconds until the next pass; None: no further pass is needed."""
        again = await self._log_keeper.retry_directory_s(entry) if has_room else ASK_FOR_ROOM_S
        longest = LONGEST_WAIT_S if again is None else again
        if decided.requeue_at is not None:
            return min(self._due_s(decided, longest), longest)
        return await self._when_done(entry) if again is None else longest

    def _due_s(self, decided: Plan, otherwise_s: float) -> float:
        """Return the seconds until the decision changes with time, else `otherwise_s`."""
        if decided.requeue_at is None:
            return otherwise_s
        return max((decided.requeue_at - self._clock.now()).total_seconds(), AT_ONCE)

    async def _when_done(self, entry: JobEntry) -> float | None:
        """Make a settled job evictable, or delete a finished one, after a pass that completed all work."""
        job = entry.job
        if is_settled(job, self._settings) and self._index.get(job.key) is entry:
            self._index.settle(job.key, suspended_at(job))
        return await self._when_finished(job)

    async def _when_finished(self, job: JobView) -> float | None:
        """Delete a finished job if its retention is over and nothing holds it.

        Returns:
            Seconds until its retention is over. None if the job is not in the index: there may be
            any number of these, and the sweep finds them. A delay that was queued before the index
            evicted the job remains.
        """
        if self._ask_retention is None or not job.status.is_finished:
            return None
        wait = await self._ask_retention(job)
        return wait if job.key in self._index else None

    async def _claim(self, entry: JobEntry) -> float:
        """Add our finalizer to a job. If that is refused, report it in status or as an Event."""
        job = entry.job
        try:
            await self._write_finalizers(job, self._record_keeper.claim(job))
        except _REFUSALS as error:
            status = self._record_keeper.unclaimed_status(entry.job, error)
            if changed_fields(entry.job.status, status):
                events = events_between(entry.job.status, status)
                await self._write_status(entry, entry.job, Plan(status=status, events=events))
            raise
        return AT_ONCE

    async def _release(self, job: JobView, *, abandon: bool) -> float | None:
        """Release our finalizer on a job. If that is refused, record an Event."""
        try:
            return await self._write_finalizers(
                job, self._record_keeper.release(job, abandon=abandon)
            )
        except _REFUSALS as error:
            self._record_keeper.report_unreleased(job, error)
            raise

    async def _write_finalizers(self, job: JobView, write: Awaitable[None]) -> float | None:
        """Write finalizers, and return when the next pass is due: at once, unless the job finished.

        The watch event of our own write is ignored, so the retention of a finished job is checked
        here.
        """
        try:
            await write
        except (ConflictError, InvalidError):
            # A failed `test` of a JSON patch is a 422, as is a permanent refusal.
            if not await self.live.is_unchanged(job):
                return AT_ONCE
            raise
        entry = self._index.get(job.key)
        if entry is None:
            return None if job.status.is_finished else AT_ONCE
        return await self._when_finished(entry.job) if entry.job.status.is_finished else AT_ONCE

    async def _write_status(self, entry: JobEntry, job: JobView, decided: Plan) -> bool:
        """Write the decided status. False: the job changed meanwhile; make another pass."""
        begun = self._clock.monotonic()
        try:
            answer = await self._cluster.patch_job_status(
                job.key, status_write(job, status_patch(job.status, decided.status))
            )
        except ConflictError:
            if await self.live.is_unchanged(job):
                raise  # nothing has changed: an immediate retry would loop for ever
            return False
        self._record_keeper.observe(job, answer)
        if answer is None:
            return False
        entry.written_at, entry.progress_at = self._clock.monotonic(), None
        self._throttle.note_write(entry.written_at - begun)
        if job.key not in self._index:
            entry.job = job_view(answer)
        _log_transition(job, decided)
        for event in decided.events:
            self._events.record(job, event)
        return True

    async def _admit(self, key: JobKey) -> float | None:
        """Admit a job to the index if it is its turn, or make a pass over it without an entry.

        Otherwise it waits until the index has room, and its status says so. A job that we may not
        read is removed from the queue: its Role may have been deleted with its namespace.
        """
        try:
            return await self._admit_in_turn(key)
        except ForbiddenError:
            self._index.stop_waiting(key)
            raise

    async def _admit_in_turn(self, key: JobKey) -> float | None:
        raw = await self._cluster.get_job(key)
        if raw is None:
            self._index.stop_waiting(key)
            self._records.forget_delivery(key)
            return None
        job = job_view(raw)
        del raw  # it can be a megabyte, and the calls below take time
        if not is_ours(job):
            self._index.stop_waiting(key)
            return None
        # For this pass alone, unless the index admits the job.
        entry = JobEntry(job=job, pods_known=True)
        if not should_run(job) and stage_of(job) <= Stage.LOGS:
            await self.live.read_remaining_pods(entry)
        if self._needs_no_entry(entry):
            self._index.stop_waiting(key)
            return await self._pass_without_entry(entry)
        if self._index.observe_job(job):
            if entry.pods and (placed := self._index.get(key)) is not None:
                placed.pods_known = False
            return AT_ONCE
        if not should_run(job):
            due = await self._pass_without_entry(entry)  # its pods have to be deleted meanwhile
            return UNPLACED_RETRY_S if due is None else min(due, UNPLACED_RETRY_S)
        full = f"the operator has reached its limit of {self._index.max_jobs} live jobs"
        status = blocked_status(job, REASON_QUEUED, full, now=self._clock.now())
        if patch := status_patch(job.status, status):
            await self._cluster.patch_job_status(key, status_write(job, patch))
        return None

    async def _pass_without_entry(self, entry: JobEntry) -> float | None:
        decided = self._decide(entry, pods_are_live=True)
        if decided.claim:
            return await self._claim(entry)
        return await self._write_and_act(entry, decided)

    def _needs_no_entry(self, entry: JobEntry) -> bool:
        """True if a job outside the index, whose pods were just read, needs no entry for its pass.

        A finished job was evicted and must not come back, but the result of its record may have to
        be written. A suspended or stopped one has no pods to follow.
        """
        job = entry.job
        if job.status.is_finished:
            return True
        return not (should_run(job) or entry.pods or job.key in self._index)


def _log_transition(job: JobView, decided: Plan) -> None:
    old, new = job.status, decided.status
    if old.phase != new.phase or old.attempt != new.attempt:
        _logger.info(
            "job %s: %s -> %s (attempt %d)", job.key, old.phase or "new", new.phase, new.attempt
        )
