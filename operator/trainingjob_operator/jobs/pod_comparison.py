"""Compares jobs in the index with a complete list of their pods, page by page.

What a page says of a pod goes into the index at once. What the whole list lacks is known only at
its end, and is forgotten then. A list that breaks off has repaired what it came to, and forgets
nothing.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from trainingjob_operator.core.job import JobKey
from trainingjob_operator.core.observe_pod import pod_view
from trainingjob_operator.jobs.job_entry import JobEntry
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.kube.cluster import Page


class PodComparison:
    """One comparison, with one list.

    Bound: the uids of those pods that the index holds while they are listed, which are the texts
    that the index has. Of the others, of which there can be any number, nothing is kept.

    Attributes:
        version: resourceVersion of the list.
    """

    def __init__(
        self,
        index: JobIndex,
        entries: Iterable[JobEntry],
        *,
        unplaced: Collection[str] = (),
        on_change: Callable[[JobKey], object] = lambda key: None,
    ) -> None:
        """Begin the comparison, before the first page is asked for.

        Args:
            index: what is compared.
            entries: those of its jobs of which all pods will be listed.
            unplaced: uids of jobs that are not in the index and should have no pods: each of
                those is a change.
            on_change: called with the key of a job of which a pod was not known as it is. The watch
                may tell of the same change afterwards, and then it is nothing new.
        """
        self._index: Final = index
        self._unplaced: Final = unplaced
        self._on_change: Final = on_change
        # A job that comes into the index later has pods in pages that were passed by then.
        # Of one that is over, pods were passed over that count again if it is revived.
        self._entries: Final = tuple((entry, entry.job.status.is_finished) for entry in entries)
        self._listed: Final[set[str]] = set()
        self.version = "0"

    @property
    def entries(self) -> list[JobEntry]:
        """Those of the jobs that still are in the index."""
        return [entry for entry, _ in self._entries if self._is_here(entry)]

    def compare_page(self, page: Page) -> None:
        """Take in a page."""
        self.version = page.resource_version
        for raw in page.items:
            self._compare_one(raw)

    def forget_unlisted(self) -> None:
        """Forget the pods that the complete list lacks."""
        for entry, was_over in self._entries:
            if self._is_here(entry) and (entry.job.status.is_finished or not was_over):
                self._index.forget_unlisted(entry, self._listed, self.version)

    def _compare_one(self, raw: dict[str, Any]) -> None:
        pod = pod_view(raw)
        if pod is None:
            return
        if self._index.observe_listed(pod, self.version) or pod.owner_uid in self._unplaced:
            self._on_change(JobKey(pod.namespace, pod.job_name))
        entry = self._index.get(JobKey(pod.namespace, pod.job_name))
        if entry is None or entry.job.uid != pod.owner_uid or self._index.is_done_with(pod):
            return
        held = entry.pods.get(pod.name, pod)
        self._listed.add(held.uid if held.uid == pod.uid else pod.uid)

    def _is_here(self, entry: JobEntry) -> bool:
        return self._index.get(entry.job.key) is entry
