"""Deleting pods, as a consequence of what a job's status says by then."""

import asyncio
from typing import Final

from trainingjob_api.errors import ConflictError, KubernetesError
from trainingjob_operator.core.decision import DeletePod
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.core.pacing import batches
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.kube.cluster import Cluster

_MAX_AT_ONCE: Final = 16


class PodDeleter:
    """Deletes pods, and lets the index know that it was asked for."""

    def __init__(self, cluster: Cluster, index: JobIndex) -> None:
        self._cluster: Final = cluster
        self._index: Final = index

    async def delete(self, key: JobKey, victims: tuple[DeletePod, ...]) -> bool:
        """Delete these pods. One that may not be deleted does not keep the others alive.

        Returns:
            False if one was to go as it was seen, and has changed since: it has to be read, and
            decided about again.

        Raises:
            KubernetesError: the last refusal for good, or the first fault that passes.
        """
        refused: KubernetesError | None = None
        all_unchanged = True
        for batch in batches(victims, _MAX_AT_ONCE):
            results = await asyncio.gather(
                *(self._delete_one(key, victim) for victim in batch), return_exceptions=True
            )
            all_unchanged = all_unchanged and False not in results
            for error in (result for result in results if isinstance(result, BaseException)):
                if not isinstance(error, KubernetesError) or not error.permanent:
                    raise error
                refused = error
        if refused is not None:
            raise refused
        return all_unchanged

    async def _delete_one(self, key: JobKey, victim: DeletePod) -> bool:
        try:
            await self._cluster.delete_pod(
                key.namespace,
                victim.name,
                uid=victim.uid,
                version=victim.version,
                grace_s=victim.grace_s,
            )
        except ConflictError:
            # Without a version: the name belongs to another pod by now, and this one is gone.
            return victim.version is None
        self._index.mark_deleting(key, victim.uid, victim.name)
        return True
