"""Reading a job and its pods live, where memory is not to be trusted."""

from collections.abc import Callable
from typing import Any, Final

from trainingjob_api.errors import UnavailableError
from trainingjob_operator.core.job import JobView, describe_rewind, has_gone_back
from trainingjob_operator.core.naming import pod_selector
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.core.observe_pod import pod_view
from trainingjob_operator.jobs.job_entry import JobEntry
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.pod_comparison import PodComparison
from trainingjob_operator.kube.cluster import Cluster


class LiveReader:
    """Reads from the API server, and lets the index know. Remembers nothing itself."""

    def __init__(
        self, cluster: Cluster, index: JobIndex, *, on_rewind: Callable[[str], object]
    ) -> None:
        """Prepare to read.

        Args:
            cluster: where to read.
            index: takes in what was read.
            on_rewind: takes the reason for which everything that is remembered is void.
        """
        self._cluster: Final = cluster
        self._index: Final = index
        self._on_rewind: Final = on_rewind

    async def read_job(self, job: JobView) -> dict[str, Any] | None:
        """Read a job; None if it is gone or another one by now."""
        raw = await self._cluster.get_job(job.key)
        if raw is None:
            self._index.forget_job(job.key, job.uid)
            return None
        live = job_view(raw)
        known = job.resource_version
        if has_gone_back(known, live.resource_version, at=known):
            # The store itself answers such a read, and what we knew was there before it.
            self._on_rewind(describe_rewind(job, live))
            raise UnavailableError(describe_rewind(job, live), reason="Rewound")
        if job.key in self._index:
            self._index.observe_job(live)
        return raw if live.uid == job.uid else None

    async def is_unchanged(self, job: JobView) -> bool:
        """True if a job is still this version. Keeps nothing of what was read."""
        raw = await self.read_job(job)
        return raw is not None and job_view(raw).resource_version == job.resource_version

    async def read_pods(self, entry: JobEntry) -> None:
        """Read all pods of a job."""
        pods, key = PodComparison(self._index, [entry]), entry.job.key
        async for page in self._cluster.list_pods(key.namespace, selector=pod_selector(key.name)):
            pods.compare_page(page)
        pods.forget_unlisted()

    async def read_remaining_pods(self, entry: JobEntry) -> None:
        """Read the pods of a job that the index does not hold, into its entry alone."""
        key = entry.job.key
        async for page in self._cluster.list_pods(key.namespace, selector=pod_selector(key.name)):
            for raw in page.items:
                pod = pod_view(raw)
                if pod is not None and pod.owner_uid == entry.job.uid and not entry.is_crowded:
                    entry.pods[pod.name] = pod
