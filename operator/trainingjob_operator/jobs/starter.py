"""Starts attempts: reserves the pods, obtains a fresh spec, and creates what is missing."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final, NamedTuple

from trainingjob_api.constants import REASON_QUEUED
from trainingjob_api.errors import KubernetesError
from trainingjob_api.validation import parse_spec
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.attempt import has_begun
from trainingjob_operator.core.bounded import Bound
from trainingjob_operator.core.decision import Plan, Refusal
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.core.refusals import with_partial_since
from trainingjob_operator.core.untyped_json import weight_of_document
from trainingjob_operator.jobs.byte_semaphore import ByteSemaphore
from trainingjob_operator.jobs.job_entry import JobEntry
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.manifest_cache import LARGEST, ManifestCache
from trainingjob_operator.jobs.pod_creator import PodCreator

FRESH_S: Final = 60.0
"""Age in seconds up to which a spec from the watch may start a job: a dead watch can go unnoticed
for a minute."""

ASK_FOR_ROOM_S: Final = 300.0
"""Seconds after which a queued job tries to reserve its pods again; it is called when it can."""

STARTING_BYTES: Final = 16 * 1024 * 1024
"""Limit of the memory of all large specs whose pods are being created."""


class PassSteps(NamedTuple):
    """Callbacks into the pass that a start needs; see `Reconciler`."""

    read: Callable[[JobView], Awaitable[dict[str, Any] | None]]
    decide: Callable[[JobEntry], Plan]
    make_directory: Callable[[JobEntry], Awaitable[None]]


class Starter:
    """Creates the missing pods of an attempt.

    Attributes:
        starting: bytes of the specs of large jobs that are being started.
        launcher: creates the pods.
    """

    def __init__(
        self,
        *,
        index: JobIndex,
        manifests: ManifestCache,
        clock: Clock,
        launcher: PodCreator,
        pass_: PassSteps,
    ) -> None:
        self.starting: Final = ByteSemaphore(STARTING_BYTES)
        self.launcher: Final = launcher
        self._index: Final = index
        self._manifests: Final = manifests
        self._clock: Final = clock
        self._pass: Final = pass_

    async def create(self, entry: JobEntry, decided: Plan) -> bool:
        """Create what is missing. False: the job has changed; make another pass.

        A new job starts from the spec of its watch event, or of the response to our claim. Every
        other start reads the job live, so that stale data starts nothing: a job that was suspended,
        stopped or deleted a moment ago is seen as such. A large spec is dropped after the read, and
        read again once memory is free for it.

        Raises:
            KubernetesError: a temporary error.
        """
        if not self._index.reserve_pods(entry):
            queued = self._queued(entry.job)
            entry.refusal = with_partial_since(queued, entry.refusal, entry.pods.values())
            return True
        try:
            return await self._create(entry, decided)
        except KubernetesError:
            # It is retried. A job that has pods keeps its reservation, since it needs the rest of
            # them; one without pods lets others start first.
            if not entry.pods and not has_begun(entry.job):
                self._index.release_pods(entry)
            raise

    async def _create(self, entry: JobEntry, decided: Plan) -> bool:
        spec = self._fresh_spec(entry.job)
        if spec is not None:
            return await self._launch(entry, entry.job, spec, decided)
        raw = await self._read(entry)
        weight = weight_of_document(raw["spec"]) if raw is not None else 0
        if weight <= LARGEST:
            return await self._launch_as_read(entry, raw)
        del raw
        async with self.starting.acquire(weight):
            return await self._launch_as_read(entry, await self._read(entry))

    async def _read(self, entry: JobEntry) -> dict[str, Any] | None:
        """Read the job live; None if it differs from the index: make another pass."""
        raw = await self._pass.read(entry.job)
        if raw is None or self._index.get(entry.job.key) is not entry:
            return None
        live = job_view(raw)
        is_same = live.resource_version == entry.job.resource_version and live.invalid is None
        return raw if is_same else None

    async def _launch_as_read(self, entry: JobEntry, raw: dict[str, Any] | None) -> bool:
        if raw is None:
            return False
        return await self._launch(entry, job_view(raw), raw["spec"], self._pass.decide(entry))

    async def _launch(
        self, entry: JobEntry, job: JobView, spec: dict[str, Any], decided: Plan
    ) -> bool:
        if decided.create:
            await self._pass.make_directory(entry)
            await self.launcher.launch(entry, job, parse_spec(spec), decided.create)
            if entry.refusal is not None:
                self._index.release_pods(entry)
        return True

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit of the bytes of specs being started and of pods being created."""
        return (
            Bound("starting_bytes", self.starting.used, self.starting.limit),
            Bound("creating_bytes", self.launcher.in_flight.used, self.launcher.in_flight.limit),
        )

    def _queued(self, job: JobView) -> Refusal:
        """Return the refusal of a queued job. When its turn comes, the index lets it retry."""
        message = (
            f"the operator is near its limit of {self._index.pod_limit.limit} pods; the job starts when "
            f"its {job.spec.num_nodes} pods fit, after the jobs that are queued before it"
        )
        now = self._clock.now()
        return Refusal(
            reason=REASON_QUEUED,
            message=message,
            refused_at=now,
            retry_at=now + timedelta(seconds=ASK_FOR_ROOM_S),
            wait_s=ASK_FOR_ROOM_S,
            attempt=job.status.attempt,
            generation=job.generation,
            changed_retry_at=now,
        )

    def _fresh_spec(self, job: JobView) -> dict[str, Any] | None:
        """Return the cached spec of a job that never started, if it was seen a moment ago."""
        if not job.status.never_started:
            return None
        return self._manifests.take_spec(job, not_before=self._clock.monotonic() - FRESH_S)
