"""Classifies the pods of a job by rank: current, stale, completed, ended, disrupted, lost, missing."""

from dataclasses import dataclass

from trainingjob_operator.core.decision import Observation
from trainingjob_operator.core.naming import parse_indexes
from trainingjob_operator.core.pod import PodPhase, PodView


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """The ranks of the current attempt, and the remaining pods of others.

    Attributes:
        nodes: how many ranks the job has.
        current: pods of the current attempt, in rank order.
        stale: pods of every other attempt.
        completed: ranks that have completed.
        over: pods of ranks that ended without completing, including pods that were removed since.
        disrupted: pods that were disrupted, including pods that were removed since.
        lost: ranks that had a pod and have none now: the attempt was fully launched, or the pod was
            seen to disappear.
        missing: ranks without a pod that have not completed.
    """

    nodes: int
    current: tuple[PodView, ...]
    stale: tuple[PodView, ...]
    completed: frozenset[int]
    over: tuple[PodView, ...]
    disrupted: tuple[PodView, ...]
    lost: frozenset[int]
    missing: frozenset[int]

    @property
    def is_complete(self) -> bool:
        """True if every rank has completed."""
        return len(self.completed) == self.nodes

    @property
    def all_started(self) -> bool:
        """True if every rank has completed or its pod has left the phase Pending (which is final)."""
        started = {p.index for p in self.current if p.phase is not PodPhase.PENDING}
        return len(started | self.completed) == self.nodes

    @property
    def gated(self) -> bool:
        """True if scheduling gates hold the pod of a rank."""
        return any(pod.gated and not pod.is_terminal for pod in self.current)

    @property
    def ending(self) -> tuple[PodView, ...]:
        """Disrupted pods of ranks that have not completed, which may still be running."""
        return tuple(p for p in self.current if p.is_ending and p.index not in self.completed)

    @property
    def ready(self) -> frozenset[int]:
        """Ranks whose pod is running and ready."""
        return frozenset(
            p.index
            for p in self.current
            if p.ready and p.phase is PodPhase.RUNNING and not (p.deleting or p.has_ended)
        )


def sort_ranks(seen: Observation) -> Ranks:
    """Classify the observed pods. A pod whose rank exceeds `numNodes` is stale."""
    status, nodes = seen.job.status, seen.job.spec.num_nodes
    current: list[PodView] = []
    stale: list[PodView] = []
    for pod in seen.pods:
        is_current = pod.attempt == status.attempt and 0 <= pod.index < nodes
        (current if is_current else stale).append(pod)
    current.sort(key=lambda p: p.index)
    present = {p.index for p in current}
    recorded = {i for i in parse_indexes(status.completed_indexes) | seen.done if i < nodes}
    completed = frozenset(recorded | {p.index for p in current if p.has_completed})
    missing = frozenset(range(nodes)) - present - completed
    removed = [p for p in seen.ended if p.index in missing and p.attempt == status.attempt]
    incomplete = [p for p in current if p.index not in completed] + removed
    absent = missing - {p.index for p in removed}
    launched = status.launched_attempt == status.attempt
    return Ranks(
        nodes=nodes,
        current=tuple(current),
        stale=tuple(stale),
        completed=completed,
        over=tuple(p for p in incomplete if p.has_ended),
        disrupted=tuple(p for p in incomplete if p.is_disrupted),
        lost=absent if launched else absent & seen.vanished,
        missing=missing,
    )
