"""Creates the Service and the pods of an attempt."""

import asyncio
from collections.abc import Collection
from typing import Any, Final, NamedTuple

from trainingjob_api.constants import (
    ANNOTATION_TEMPLATE_HASH,
    REASON_POD_NAME_CONFLICT,
    REASON_SERVICE_NAME_CONFLICT,
)
from trainingjob_api.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    InvalidError,
)
from trainingjob_api.training_job import TrainingJobSpec
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.backoff import batches
from trainingjob_operator.core.decision import Refusal
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.manifests import pod_manifest, service_manifest
from trainingjob_operator.core.observe_pod import pod_view
from trainingjob_operator.core.pod import PodView
from trainingjob_operator.core.refusals import with_partial_since
from trainingjob_operator.core.untyped_json import as_dict, as_dicts, weight_of_document
from trainingjob_operator.jobs.byte_semaphore import ByteSemaphore
from trainingjob_operator.jobs.create_errors import CreateErrorClassifier
from trainingjob_operator.jobs.job_entry import JobEntry
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.manifest_cache import LARGEST
from trainingjob_operator.kube.cluster import Cluster

_MAX_BATCH: Final = 16

IN_FLIGHT_BYTES: Final = 48 * 1024 * 1024
"""Limit of the memory of all pods that are being created at once."""

_COPIES: Final = 4
"""Estimated copies of a pod during its creation: our dicts, the client's, and the JSON."""


class _Launch(NamedTuple):
    """Arguments of the creation of every rank.

    Attributes:
        before: the job's previous refusal.
        made: the manifest of the first rank, if it is small; used once.
    """

    entry: JobEntry
    job: JobView
    spec: TrainingJobSpec
    before: Refusal | None
    made: dict[int, dict[str, Any]]


class PodCreator:
    """Creates Services and pods, and adds them to the index at once.

    The index must contain our own writes before the watch reports them: a pass in between would
    create everything again.
    """

    def __init__(
        self, cluster: Cluster, index: JobIndex, clock: Clock, *, accelerators: Collection[str]
    ) -> None:
        self._cluster: Final = cluster
        self._index: Final = index
        self._errors: Final = CreateErrorClassifier(cluster, clock)
        self._accelerators: Final = frozenset(accelerators)
        self.in_flight: Final = ByteSemaphore(IN_FLIGHT_BYTES)

    async def launch(
        self, entry: JobEntry, job: JobView, spec: TrainingJobSpec, ranks: tuple[int, ...]
    ) -> None:
        """Create the pods of these ranks, and set the entry's refusal (None if all were accepted).

        Args:
            entry: the index's entry of the job.
            job: the job, read live.
            spec: its spec, from the same read.
            ranks: the ranks to create.

        Raises:
            KubernetesError: a temporary error; the pods created before are in the index.
        """
        before, entry.refusal = entry.refusal, None
        if spec.num_nodes > 1 and not entry.has_service:
            entry.refusal = await self._create_service(job, spec, before)
            entry.has_service = entry.refusal is None
        if entry.refusal is not None:
            return
        this = _Launch(entry, job, spec, before, {})
        first = pod_manifest(job, spec, ranks[0], accelerators=self._accelerators)
        weight = _COPIES * weight_of_document(first)
        if weight <= _COPIES * LARGEST:
            this.made[ranks[0]] = first
        del first
        # Slow start, as in the Job controller: a refusal costs one request, not a thousand.
        for batch in batches(ranks, _MAX_BATCH, first=1):
            results = await asyncio.gather(
                *(self._create_in_turn(this, rank, weight) for rank in batch),
                return_exceptions=True,
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result
                entry.refusal = entry.refusal or result
            if entry.refusal is not None:
                entry.refusal = with_partial_since(entry.refusal, before, entry.pods.values())
                return

    async def _create_service(
        self, job: JobView, spec: TrainingJobSpec, before: Refusal | None
    ) -> Refusal | None:
        manifest = service_manifest(job, spec)
        namespace, name = job.key.namespace, manifest["metadata"]["name"]
        try:
            await self._cluster.create_service(manifest)
        except AlreadyExistsError as error:
            found = await self._cluster.get_service(namespace, name)
            if found is None:
                raise ConflictError(f"Service {name} existed and was then deleted") from error
            if not _is_owned_by(found, job.uid):
                return self._errors.refusal(
                    job,
                    REASON_SERVICE_NAME_CONFLICT,
                    f"Service {name} exists already and does not belong to this job; delete or "
                    "rename it",
                    before,
                )
        except (ForbiddenError, InvalidError) as error:
            return self._errors.classify(job, error, before)
        return None

    async def _create_in_turn(self, launch: _Launch, rank: int, weight: int) -> Refusal | None:
        """Create a pod as soon as memory is free for it: a template can be a megabyte."""
        async with self.in_flight.acquire(weight):
            return await self._create_pod(launch, rank)

    async def _create_pod(self, launch: _Launch, rank: int) -> Refusal | None:
        entry, job, spec, before, made = launch
        manifest = made.pop(rank, None) or pod_manifest(
            job, spec, rank, accelerators=self._accelerators
        )
        try:
            created = await self._cluster.create_pod(manifest)
        except AlreadyExistsError:
            return await self._adopt(job, manifest, before)
        except (ForbiddenError, InvalidError) as error:
            return await self._errors.classify_pod_error(entry, job, manifest, error, before)
        if (pod := pod_view(created)) is not None:
            self._index.observe_pod(pod)
        return None

    async def _adopt(
        self, job: JobView, manifest: dict[str, Any], before: Refusal | None
    ) -> Refusal | None:
        """Adopt an existing pod of this name, if our job controls it and the template is the same.

        Its creation had succeeded, but the response was lost. A terminating pod is adopted as well:
        it counts as disrupted.
        """
        metadata = manifest["metadata"]
        found = await self._cluster.get_pod(metadata["namespace"], metadata["name"])
        if found is None:
            raise ConflictError(f"pod {metadata['name']} existed and was then deleted")
        pod = pod_view(found)
        if pod is None or pod.owner_uid != job.uid:
            return self._errors.refusal(
                job,
                REASON_POD_NAME_CONFLICT,
                f"pod {metadata['name']} exists already and does not belong to this job; delete it",
                before,
            )
        if not _is_same(pod, metadata):
            return self._errors.refusal(
                job,
                REASON_POD_NAME_CONFLICT,
                f"pod {pod.name} was created from another template; delete it",
                before,
            )
        self._index.observe_pod(pod)
        return None


def _is_owned_by(raw: dict[str, Any], uid: str) -> bool:
    references = as_dicts(as_dict(raw.get("metadata")).get("ownerReferences"))
    return any(ref.get("controller") is True and ref.get("uid") == uid for ref in references)


def _is_same(pod: PodView, metadata: dict[str, Any]) -> bool:
    wanted: str = metadata["annotations"][ANNOTATION_TEMPLATE_HASH]
    return pod.deleting or pod.template_hash == wanted
