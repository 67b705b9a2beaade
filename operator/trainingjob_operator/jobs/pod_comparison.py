"""Compares the index's pods with a complete list of pods, page by page.

Each page updates the index at once. Pods that the whole list lacks are removed at its end. A list
that breaks off leaves its updates in the index, and removes nothing.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from trainingjob_operator.core.job import JobKey
from trainingjob_operator.core.observe_pod import pod_view
from trainingjob_operator.jobs.job_entry import JobEntry
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.kube.cluster import Page


class PodComparison:
    """One comparison with one list.

    Bound: the uids of listed pods that are in the index, which are the index's own strings. Nothing
    is kept of other pods, of which there can be any number.

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
        """Begin the comparison, before the first page is requested.

        Args:
            index: the index to compare and update.
            entries: its jobs whose pods the list will contain completely.
            unplaced: uids of jobs outside the index that should have no pods; any pod of theirs
                counts as a change.
            on_change: called with the key of a job whose pod differs from the index. A watch event
                that reports the same change later is then no change.
        """
        self._index: Final = index
        self._unplaced: Final = unplaced
        self._on_change: Final = on_change
        # A job that enters the index later may have pods in earlier pages. Of a finished job, pods
        # were skipped that matter again if its status is edited so that it is live.
        self._entries: Final = tuple((entry, entry.job.status.is_finished) for entry in entries)
        self._listed: Final[set[str]] = set()
        self.version = "0"

    @property
    def entries(self) -> list[JobEntry]:
        """The compared jobs that are still in the index."""
        return [entry for entry, _ in self._entries if self._is_here(entry)]

    def compare_page(self, page: Page) -> None:
        """Update the index from a page."""
        self.version = page.resource_version
        for raw in page.items:
            self._compare_one(raw)

    def forget_unlisted(self) -> None:
        """Remove the pods that the complete list lacks."""
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
        if entry is None or entry.job.uid != pod.owner_uid or self._index.ignores_pod(pod):
            return
        held = entry.pods.get(pod.name, pod)
        self._listed.add(held.uid if held.uid == pod.uid else pod.uid)

    def _is_here(self, entry: JobEntry) -> bool:
        return self._index.get(entry.job.key) is entry
