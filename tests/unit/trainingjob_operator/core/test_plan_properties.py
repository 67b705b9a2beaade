"""Invariants of all decisions, tested with random histories of one job."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.views import NOW, UID, make_pod, make_view
from trainingjob_operator.core.decision import DecisionSettings, Observation, Plan
from trainingjob_operator.core.job import JobStatus, JobView
from trainingjob_operator.core.naming import parse_indexes
from trainingjob_operator.core.plan import plan
from trainingjob_operator.core.pod import PodPhase, PodView

POLICY: Final = DecisionSettings(restart_backoff_s=0, restart_backoff_cap_s=0)
SETTLED_AFTER: Final = 20
ACTIONS: Final = (
    "run",
    "succeed",
    "fail",
    "vanish",
    "evict",
    "reject",
    "end",
    "suspend",
    "resume",
    "crash",
)


@dataclass
class World:
    """One job, its pods, and an operator that executes its plans."""

    job: JobView
    pods: dict[str, PodView] = field(default_factory=dict)
    created: set[tuple[int, int]] = field(default_factory=set)
    suspensions: int = 0
    seconds: int = 0

    def decide(self) -> Plan:
        seen = Observation(job=self.job, pods=tuple(self.pods.values()), pods_are_live=True)
        return plan(seen, POLICY, now=NOW + timedelta(seconds=self.seconds))

    def settle(self, *, crash: bool) -> None:
        """Execute plans until nothing changes. A crash happens between a creation and the status write."""
        for _ in range(SETTLED_AFTER):
            decided = self.decide()
            self.check(decided)
            if not decided.create and not decided.delete and decided.status == self.job.status:
                return
            for rank in decided.create:
                self.create(decided.status.attempt, rank)
            if decided.create and crash:
                crash = False
                continue
            if decided.create:
                decided = self.decide()
                self.check(decided)
            self.record(decided.status)
            for victim in decided.delete:
                del self.pods[victim.name]
        raise AssertionError("the plan never comes to rest")

    def check(self, decided: Plan) -> None:
        old, new = self.job.status, decided.status
        assert not (old.is_finished and decided.create)
        assert not (new.is_finished and decided.create)
        assert not (new.attempt != old.attempt and decided.create)
        ended = [c.type for c in old.conditions if c.status and old.is_finished]
        assert ended == [c.type for c in new.conditions if c.status and old.is_finished]
        for victim in decided.delete:
            pod = self.pods[victim.name]
            is_done = pod.index in parse_indexes(new.completed_indexes)
            assert new.is_finished or pod.attempt < new.attempt or is_done

    def create(self, attempt: int, rank: int) -> None:
        assert (attempt, rank) not in self.created, "a rank was created twice in one attempt"
        self.created.add((attempt, rank))
        pod = make_pod(rank, attempt=attempt, phase=PodPhase.PENDING, ready=False)
        self.pods[pod.name] = pod

    def record(self, status: JobStatus) -> None:
        begun = status.attempt - self.job.status.attempt
        counted = (status.restarts + status.disruptions) - (
            self.job.status.restarts + self.job.status.disruptions
        )
        assert begun in {0, 1}
        assert counted in {0, begun}
        self.suspensions += begun - counted
        assert status.attempt == status.restarts + status.disruptions + self.suspensions
        self.job = replace(self.job, status=status)

    def act(self, action: str, rank: int) -> None:
        """Apply an action to the current pod of a rank, or to the job."""
        self.seconds += 1
        if action in {"suspend", "resume"}:
            self.job = replace(self.job, spec=replace(self.job.spec, suspend=action == "suspend"))
            return
        found = [p for p in self.pods.values() if p.index == rank and not p.is_terminal]
        if not found:
            return
        [pod] = found
        changes: dict[str, PodView | None] = {
            "run": replace(pod, phase=PodPhase.RUNNING, ready=True),
            "succeed": replace(pod, phase=PodPhase.SUCCEEDED, ready=False, exit_code=0),
            "fail": replace(pod, phase=PodPhase.FAILED, ready=False, exit_code=1),
            "evict": replace(pod, phase=PodPhase.FAILED, ready=False, disruption="Evicted"),
            "reject": replace(pod, phase=PodPhase.FAILED, ready=False, rejected=True),
            "end": replace(pod, ready=False, exit_code=rank % 2, side_containers=("proxy",)),
            "vanish": None,
        }
        changed = changes.get(action, pod)
        if changed is None:
            del self.pods[pod.name]
        else:
            self.pods[pod.name] = changed


@settings(max_examples=300, deadline=None)
@given(
    nodes=st.integers(1, 3),
    backoff_limit=st.integers(0, 2),
    history=st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 2)), max_size=25),
    clean=st.sampled_from(["All", "Running", "None"]),
)
def test_no_history_starts_a_rank_twice_or_miscounts_restarts(
    nodes: int, backoff_limit: int, history: list[tuple[str, int]], clean: str
) -> None:
    world = World(
        make_view(JobStatus(), nodes=nodes, backoff_limit=backoff_limit, clean_pod_policy=clean)
    )
    assert world.job.uid == UID
    world.settle(crash=False)
    for action, rank in history:
        world.act(action, rank)
        world.settle(crash=action == "crash")
    again = world.decide()
    assert (again.create, again.delete, again.status) == ((), (), world.job.status)
