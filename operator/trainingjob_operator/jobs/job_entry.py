"""An entry of the index: a job, its pods, and notes about its deleted pods."""

from dataclasses import dataclass, field
from typing import Final

from trainingjob_api.constants import MAX_NODES
from trainingjob_operator.core.decision import Refusal
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.pod import PodView

_STRAYS: Final = 16
"""Pods of a job that are followed in addition to four for each rank: the attempt's own, and those of
earlier attempts that finalizers keep (`core.attempt` allows two). Only forged pods can be more."""

_MORE_GONE: Final = 16
"""Uids of deleted pods that are kept, in addition to those of the last two attempts."""

_LONG_TEXTS: Final = 16
"""Pods of a job whose messages are kept in full. A trainer chooses its termination message, and a
job can have a thousand ranks; of the other pods only the beginning is kept."""


@dataclass(slots=True)
class JobEntry:
    """Everything that memory holds about one job.

    Belongs to the index. Others read it, and set only the fields that are marked as theirs.

    Attributes:
        vanished: ranks of the current attempt whose pods were deleted before they had finished.
        done: ranks of the current attempt that had completed when their pods were deleted.
        ended: pods of the current attempt that had ended without completing their rank when they
            were deleted, and are still to be judged; at most one for each rank, whose reservation
            lasts until the attempt is over. None: there is none.
        unbegun: ranks of the current attempt whose pods were deleted before they had begun.
        begun: ranks of the current attempt whose pods were deleted after they had begun.
        deleted_uids: uids of the pods deleted last. A late report of one (the response to our POST, or a
            list read before its deletion) must not bring it back. None: none was deleted.
        pods_known: the pods were listed, or there can be none yet; otherwise they must be read
            from the API server before anything is concluded from their absence.
        refusal: set by the reconciler: the API server's last refusal to create something.
        has_service: set by the reconciler: the headless Service exists.
        has_directory: set by the reconciler: the job's directory on the log volume exists.
        has_reservation: set by `pod_limit`: pods of all ranks are reserved, existing or not.
        reserved_pods: set by `pod_limit`: the number of its pods that count towards the limit.
        unused_grant: set by `pod_limit`: granted ranks that have had no pod since.
        returned_at: set by `pod_limit`: ranks of all jobs that had been granted when this job
            released its whole reservation unused; None: it has not.
        written_at: set by the reconciler: monotonic time of the last status write.
        progress_at: set by the reconciler: monotonic time at which progress was first seen that is
            not written yet. None: there is none.
    """

    job: JobView
    pods: dict[str, PodView] = field(default_factory=dict)
    vanished: frozenset[int] = frozenset()
    done: frozenset[int] = frozenset()
    unbegun: frozenset[int] = frozenset()
    begun: frozenset[int] = frozenset()
    ended: dict[int, PodView] | None = None
    deleted_uids: dict[str, None] | None = None
    pods_known: bool = False
    refusal: Refusal | None = None
    has_service: bool = False
    has_directory: bool = False
    has_reservation: bool = False
    reserved_pods: int = 0
    unused_grant: int = 0
    returned_at: int | None = None
    written_at: float = float("-inf")
    progress_at: float | None = None

    @property
    def has_too_many_pods(self) -> bool:
        """True if the job has more pods than it can have without forged ones.

        For an invalid spec, the largest allowed number of nodes counts.
        """
        nodes = self.job.spec.num_nodes if self.job.invalid is None else MAX_NODES
        return len(self.pods) >= 4 * nodes + _STRAYS

    @property
    def held_by_finalizers(self) -> int:
        """The number of pods of earlier attempts that finalizers keep from being deleted."""
        attempt = self.job.status.attempt
        return sum(bool(pod.held_by) and pod.attempt != attempt for pod in self.pods.values())

    def was_deleted(self, pod: PodView) -> bool:
        """True if this pod (by uid) is one of those that were deleted last."""
        return self.deleted_uids is not None and pod.uid in self.deleted_uids

    def note_deleted(self, pod: PodView) -> None:
        """Note that this pod was deleted; forget the oldest note beyond the limit."""
        if self.deleted_uids is None:
            self.deleted_uids = {}
        self.deleted_uids[pod.uid] = None
        if len(self.deleted_uids) > 2 * self.job.spec.num_nodes + _MORE_GONE:
            del self.deleted_uids[next(iter(self.deleted_uids))]

    def keep_end(self, pod: PodView) -> None:
        """Keep the end of a deleted pod of the current attempt, unless the job has finished."""
        is_done = pod.index in self.done or self.job.status.is_finished
        if pod.has_ended and not is_done:
            self.ended = (self.ended or {}) | {pod.index: pod.with_short_texts()}

    def has_enough_long_texts(self, pod: PodView) -> bool:
        """True if the long messages of `_LONG_TEXTS` other pods of the job are kept already."""
        others = (other for other in self.pods.values() if other.name != pod.name)
        return sum(other.has_long_text for other in others) >= _LONG_TEXTS

    def drop_pod(self, name: str) -> bool:
        """Drop a pod, if it is here; after the last one, replace the dict by a new one.

        An emptied dict keeps its memory, and there are thousands of finished jobs.
        """
        if self.pods.pop(name, None) is None:
            return False
        if not self.pods:
            self.pods = {}
        return True
