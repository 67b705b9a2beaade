"""Deletes pods, after the reason was written into the job's status."""

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
    """Deletes pods, and marks them in the index as being deleted."""

    def __init__(self, cluster: Cluster, index: JobIndex) -> None:
        self._cluster: Final = cluster
        self._index: Final = index

    async def delete(self, key: JobKey, victims: tuple[DeletePod, ...]) -> None:
        """Delete these pods. A refused deletion does not stop the deletion of the others.

        Raises:
            ConflictError: a pod with a version precondition has changed: read the pods and decide
                again.
            KubernetesError: the last permanent error, or the first temporary one.
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
        # A conflict comes first: a refusal would park the job, and the next pass meets it again.
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
                return  # the name belongs to another pod by now: this one was deleted
            raise ConflictError(
                f"pod {victim.name} has changed since it was seen: {error}"
            ) from error
        self._index.mark_deleting(key, victim.uid, victim.name)
