"""Reads a job and its pods from the API server, where the index may be stale.

The live reads update the index, so that the next decision sees them.
"""

from collections.abc import Callable
from typing import Any, Final

from trainingjob_api.errors import UnavailableError
from trainingjob_operator.core.job import JobView, describe_rewind, is_rewound
from trainingjob_operator.core.naming import pod_selector
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.core.observe_pod import pod_view
from trainingjob_operator.jobs.job_entry import JobEntry
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.pod_comparison import PodComparison
from trainingjob_operator.kube.cluster import Cluster


class LiveReader:
    """Reads from the API server and updates the index. Keeps no state."""

    def __init__(
        self, cluster: Cluster, index: JobIndex, *, on_rewind: Callable[[str], object]
    ) -> None:
        """Prepare to read.

        Args:
            cluster: the API server.
            index: receives what was read.
            on_rewind: called with the reason when the cluster was put back to an earlier state.
        """
        self._cluster: Final = cluster
        self._index: Final = index
        self._on_rewind: Final = on_rewind

    async def read_job(self, job: JobView) -> dict[str, Any] | None:
        """Read a job; None if it was deleted, or replaced by another one of its name."""
        raw = await self._cluster.get_job(job.key)
        if raw is None:
            self._index.forget_job(job.key, job.uid)
            return None
        live = job_view(raw)
        known = job.resource_version
        if is_rewound(known, live.resource_version, at=known):
            # A live read comes from the store itself, so the older version proves a restore.
            self._on_rewind(describe_rewind(job, live))
            raise UnavailableError(describe_rewind(job, live), reason="Rewound")
        if job.key in self._index:
            self._index.observe_job(live)
        return raw if live.uid == job.uid else None

    async def is_unchanged(self, job: JobView) -> bool:
        """True if the job still has this resourceVersion."""
        raw = await self.read_job(job)
        return raw is not None and job_view(raw).resource_version == job.resource_version

    async def read_pods(self, entry: JobEntry) -> None:
        """Read all pods of a job into the index."""
        pods, key = PodComparison(self._index, [entry]), entry.job.key
        async for page in self._cluster.list_pods(key.namespace, selector=pod_selector(key.name)):
            pods.compare_page(page)
        pods.forget_unlisted()

    async def read_remaining_pods(self, entry: JobEntry) -> None:
        """Read the pods of a job that is not in the index, into the given entry only."""
        key = entry.job.key
        async for page in self._cluster.list_pods(key.namespace, selector=pod_selector(key.name)):
            for raw in page.items:
                pod = pod_view(raw)
                if (
                    pod is not None
                    and pod.owner_uid == entry.job.uid
                    and not entry.has_too_many_pods
                ):
                    entry.pods[pod.name] = pod
