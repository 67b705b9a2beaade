"""The pods of a job in named buckets, so that decisions read as sentences."""

from dataclasses import dataclass

from trainingjob_operator.core.decision import Observation
from trainingjob_operator.core.naming import parse_indexes
from trainingjob_operator.core.pod import PodPhase, PodView


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """The ranks of the current attempt, and what is left of others.

    Attributes:
        nodes: how many ranks the job has.
        current: pods of the current attempt, in rank order.
        stale: pods of every other attempt.
        completed: ranks that are done.
        over: pods of ranks that have ended and are not done, among them some that went since.
        disrupted: pods that were taken away, among them such.
        lost: ranks without a pod that had one: absent from a launched attempt, or seen to go.
        missing: ranks without a pod that are not done.
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
        """True if every rank is done."""
        return len(self.completed) == self.nodes

    @property
    def all_started(self) -> bool:
        """True if every rank is done or its pod has left Pending (it never goes back)."""
        started = {p.index for p in self.current if p.phase is not PodPhase.PENDING}
        return len(started | self.completed) == self.nodes

    @property
    def gated(self) -> bool:
        """True if a rank's pod is held by scheduling gates."""
        return any(pod.gated and not pod.is_terminal for pod in self.current)

    @property
    def ending(self) -> tuple[PodView, ...]:
        """Pods that were taken away, of which something may run yet, of ranks that are not done."""
        return tuple(p for p in self.current if p.is_ending and p.index not in self.completed)

    @property
    def ready(self) -> frozenset[int]:
        """Ranks whose pod runs and is ready."""
        return frozenset(
            p.index
            for p in self.current
            if p.ready and p.phase is PodPhase.RUNNING and not (p.deleting or p.has_ended)
        )


def sort_ranks(seen: Observation) -> Ranks:
    """Sort the observed pods into their buckets. A pod of a rank the job has not is stale."""
    status, nodes = seen.job.status, seen.job.spec.num_nodes
    current: list[PodView] = []
    stale: list[PodView] = []
    for pod in seen.pods:
        is_current = pod.attempt == status.attempt and 0 <= pod.index < nodes
        (current if is_current else stale).append(pod)
    current.sort(key=lambda p: p.index)
    here = {p.index for p in current}
    recorded = {i for i in parse_indexes(status.completed_indexes) | seen.done if i < nodes}
    completed = frozenset(recorded | {p.index for p in current if p.has_completed})
    missing = frozenset(range(nodes)) - here - completed
    went = [p for p in seen.ended if p.index in missing and p.attempt == status.attempt]
    undone = [p for p in current if p.index not in completed] + went
    gone = missing - {p.index for p in went}
    launched = status.launched_attempt == status.attempt
    return Ranks(
        nodes=nodes,
        current=tuple(current),
        stale=tuple(stale),
        completed=completed,
        over=tuple(p for p in undone if p.has_ended),
        disrupted=tuple(p for p in undone if p.is_disrupted),
        lost=gone if launched else gone & seen.vanished,
        missing=missing,
    )
