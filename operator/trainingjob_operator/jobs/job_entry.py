"""An entry of the index: a job, its pods, and what is remembered of those that have gone."""

from dataclasses import dataclass, field
from typing import Final

from trainingjob_api.constants import MAX_NODES
from trainingjob_operator.core.decision import Refusal
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.pod import PodView

_STRAYS: Final = 16
"""Pods of a job that are followed beside four for each rank: the attempt's own, and those of earlier
attempts that finalizers keep, of which `core.attempt` lets there be two. Only forged pods are more."""

_MORE_GONE: Final = 16
"""Pods of a job that are remembered to have gone, beside those of its last two attempts."""

_LONG_TEXTS: Final = 16
"""Pods of a job of which all is remembered that is said about them; a trainer's last words are its
own to choose, and a job has a thousand. Of the others the beginning is."""


@dataclass(slots=True)
class JobEntry:
    """All that is known of one job. Belongs to the index; others read it, and set the notes below.

    Attributes:
        vanished: ranks of the current attempt whose pods were seen to go unfinished.
        done: ranks of the current attempt that had completed when their pods were seen to go.
        ended: of ranks of the current attempt whose pods had ended otherwise when they were seen to
            go, these pods, which are to be judged; at most one for each, whose room is reserved
            until the attempt is over. None: there is none.
        unbegun: ranks of the current attempt whose pods were seen to go before they had begun.
        begun: ranks of the current attempt whose pods were seen to go after they had begun.
        gone: uids of the last pods that were seen to go. A late report of one (our POST answered after
            its end, a list read before it) must not bring it back. None: no pod was.
        pods_known: the pods were listed, or there can be none yet; otherwise they must be read
            from the API before anything is concluded from their absence.
        refusal: note of the reconciler: the API's last refusal to create something.
        has_service: note of the reconciler: the headless Service is there.
        has_directory: note of the reconciler: the job's directory on the log volume is there.
        has_room: there is room for the pods of all of its ranks, whether they are there or not.
        room: how many pods of it are counted.
        granted: how many of the ranks that room was last given for have had no pod yet.
        returned_at: how many ranks of all jobs had been given room when it gave back what it had,
            without having used any; None: it has not. These four belong to `pod_room`.
        written_at: note of the reconciler: monotonic time of the last status write.
        progress_at: note of the reconciler: monotonic time at which progress was first seen that is
            to be written yet. None: there is none.
    """

    job: JobView
    pods: dict[str, PodView] = field(default_factory=dict)
    vanished: frozenset[int] = frozenset()
    done: frozenset[int] = frozenset()
    unbegun: frozenset[int] = frozenset()
    begun: frozenset[int] = frozenset()
    ended: dict[int, PodView] | None = None
    gone: dict[str, None] | None = None
    pods_known: bool = False
    refusal: Refusal | None = None
    has_service: bool = False
    has_directory: bool = False
    has_room: bool = False
    room: int = 0
    granted: int = 0
    returned_at: int | None = None
    written_at: float = float("-inf")
    progress_at: float | None = None

    @property
    def is_crowded(self) -> bool:
        """True if the job has more pods than it can have without forged ones.

        A spec that is not understood does not say how many that are.
        """
        nodes = self.job.spec.num_nodes if self.job.invalid is None else MAX_NODES
        return len(self.pods) >= 4 * nodes + _STRAYS

    @property
    def kept(self) -> int:
        """The number of pods of earlier attempts that finalizers keep, beside those of the next attempt."""
        attempt = self.job.status.attempt
        return sum(bool(pod.held_by) and pod.attempt != attempt for pod in self.pods.values())

    def has_seen_go(self, pod: PodView) -> bool:
        """True if this very pod is one of the last that were seen to go."""
        return self.gone is not None and pod.uid in self.gone

    def note_gone(self, pod: PodView) -> None:
        """Note that this very pod was seen to go; forget the oldest one of too many."""
        if self.gone is None:
            self.gone = {}
        self.gone[pod.uid] = None
        if len(self.gone) > 2 * self.job.spec.num_nodes + _MORE_GONE:
            del self.gone[next(iter(self.gone))]

    def note_end(self, pod: PodView) -> None:
        """Note how a pod of the current attempt went, unless the job is over."""
        is_done = pod.index in self.done or self.job.status.is_finished
        if pod.has_ended and not is_done:
            self.ended = (self.ended or {}) | {pod.index: pod.with_short_texts()}

    def says_enough_without(self, pod: PodView) -> bool:
        """True if long texts about `_LONG_TEXTS` other pods of the job are remembered already."""
        others = (other for other in self.pods.values() if other.name != pod.name)
        return sum(other.has_long_text for other in others) >= _LONG_TEXTS

    def drop_pod(self, name: str) -> bool:
        """Drop a pod, if it is there, and the room for it with the last one.

        A dict keeps its room when its entries go, and there are thousands of finished jobs.
        """
        if self.pods.pop(name, None) is None:
            return False
        if not self.pods:
            self.pods = {}
        return True
