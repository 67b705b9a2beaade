"""Deleting pods, as a consequence of what a job's status says by then."""

import asyncio
from typing import Final

from trainingjob_api.errors import ConflictError, KubernetesError
from trainingjob_operator.core.backoff import batches
from trainingjob_operator.core.decision import DeletePod
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.kube.cluster import Cluster

_MAX_AT_ONCE: Final = 16


class PodDeleter:
    """Deletes pods, and lets the index know that it was asked for."""

    def __init__(self, cluster: Cluster, index: JobIndex) -> None:
        self._cluster: Final = cluster
        self._index: Final = index

    async def delete(self, key: JobKey, victims: tuple[DeletePod, ...]) -> None:
        """Delete these pods. One that may not be deleted does not keep the others alive.

        Raises:
            ConflictError: one was to go as it was seen, and has changed since: the pods have to be
                read, and decided about again.
            KubernetesError: the last refusal for good, or the first fault that passes.
        """
        refused: KubernetesError | None = None
        changed: ConflictError | None = None
        for batch in batches(victims, _MAX_AT_ONCE):
            results = await asyncio.gather(
                *(self._delete_one(key, victim) for victim in batch), return_exceptions=True
            )
            for error in (result for result in results if isinstance(result, BaseException)):
                if isinstance(error, ConflictError):
                    changed = error
                    continue
                if not isinstance(error, KubernetesError) or not error.permanent:
                    raise error
                refused = error
        # A refusal comes up again with the next look at the pods, and would park the job before it.
        if (last := changed or refused) is not None:
            raise last

    async def _delete_one(self, key: JobKey, victim: DeletePod) -> None:
        try:
            await self._cluster.delete_pod(
                key.namespace,
                victim.name,
                uid=victim.uid,
                version=victim.version,
                grace_s=victim.grace_s,
            )
        except ConflictError as error:
            if victim.version is None:
                return  # the name belongs to another pod by now, and this one is gone
            raise ConflictError(
                f"pod {victim.name} has changed since it was seen: {error}"
            ) from error
        self._index.mark_deleting(key, victim.uid, victim.name)
