"""Leader election: at most one process may write, whatever clocks, network and processes do."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainingjob_operator.core.lease import LeaseState, LeaseStep, LeaseTimes, LeaseView, is_served

TIMES = LeaseTimes(duration_s=15, renew_deadline_s=10, retry_s=2)
WALL = datetime(2026, 11, 1, 12, tzinfo=UTC)


def lease(holder: str, *, version: str = "1", **spec: Any) -> LeaseView:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 3, **spec}
    return LeaseView.of({"metadata": {"resourceVersion": version}, "spec": spec})


def leader(sent_at: float = 100.0) -> LeaseState:
    state = LeaseState("a", TIMES)
    state.written(lease("a"), sent_at)
    return state


class TestSteps:
    def test_without_a_lease_one_is_created(self) -> None:
        state = LeaseState("a", TIMES)
        state.read(None, 0.0)
        assert state.next_step(0.0) is LeaseStep.CREATE

    def test_a_lease_that_was_deleted_is_created_when_its_last_holder_has_ended(self) -> None:
        state = LeaseState("a", TIMES)
        state.read(lease("b"), 0.0)
        state.read(None, 50.0)
        assert state.next_step(64.9) is LeaseStep.WAIT
        assert state.next_step(65.0) is LeaseStep.CREATE

    def test_a_change_of_labels_is_no_renewal_and_the_next_write_names_the_version(self) -> None:
        state = LeaseState("a", TIMES)
        state.read(lease("b", version="1"), 0.0)
        state.read(lease("b", version="2"), 14.0)
        assert state.next_step(15.0) is LeaseStep.TAKE
        assert state.observed is not None
        assert state.observed.resource_version == "2"

    def test_a_released_lease_is_taken_at_once(self) -> None:
        state = LeaseState("a", TIMES)
        state.read(lease(""), 0.0)
        assert state.next_step(0.0) is LeaseStep.TAKE

    def test_another_holders_lease_is_taken_when_it_has_not_changed_for_its_duration(self) -> None:
        state = LeaseState("a", TIMES)
        state.read(lease("b", renewTime="1"), 50.0)
        assert state.next_step(64.9) is LeaseStep.WAIT
        state.read(lease("b", renewTime="2"), 64.9)
        state.read(lease("b", renewTime="2"), 79.8)
        assert state.next_step(79.8) is LeaseStep.WAIT
        assert state.next_step(79.9) is LeaseStep.TAKE

    @pytest.mark.parametrize("renewed", ["", "1970-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "x"])
    def test_no_time_that_another_wrote_is_compared_with_our_clock(self, renewed: str) -> None:
        state = LeaseState("a", TIMES)
        state.read(lease("b", renewTime=renewed), 50.0)
        assert state.next_step(64.9) is LeaseStep.WAIT
        assert state.next_step(65.0) is LeaseStep.TAKE

    @pytest.mark.parametrize("duration", [None, 0, -5, "long", 2.5])
    def test_a_lease_without_a_duration_gets_the_configured_one(self, duration: object) -> None:
        state = LeaseState("a", TIMES)
        state.read(lease("b", leaseDurationSeconds=duration), 0.0)
        assert state.next_step(14.9) is LeaseStep.WAIT
        assert state.next_step(15.0) is LeaseStep.TAKE

    def test_our_own_write_whose_answer_was_lost_is_renewed(self) -> None:
        state = LeaseState("a", TIMES)
        state.read(lease("a"), 0.0)
        assert state.next_step(0.0) is LeaseStep.RENEW
        assert not state.leads(0.0)


class TestLeading:
    def test_leadership_lasts_from_before_the_request_to_the_renew_deadline(self) -> None:
        state = leader(sent_at=100.0)
        assert state.leads(109.9)
        assert not state.leads(110.0)
        assert state.is_lost(110.0)
        assert state.deadline == 110.0

    def test_it_ends_when_another_one_is_seen_to_hold_the_lease(self) -> None:
        state = leader(sent_at=100.0)
        state.read(lease("b", version="2"), 101.0)
        assert state.is_lost(101.0)
        state.written(lease("a", version="3"), 102.0)
        assert state.is_lost(102.0), "what was lost once stays lost: the process ends"

    def test_a_lease_that_was_deleted_is_created_again_before_the_deadline(self) -> None:
        state = leader(sent_at=100.0)
        state.read(None, 101.0)
        assert state.leads(101.0)
        assert state.next_step(101.0) is LeaseStep.CREATE

    def test_no_request_may_be_answered_after_the_deadline_and_several_have_time(self) -> None:
        state = leader(sent_at=100.0)
        assert state.try_lasts_s(101.0) == 2.0
        assert state.try_lasts_s(109.0) == 1.0
        assert state.try_lasts_s(120.0) == 0.0
        assert LeaseState("b", TIMES).try_lasts_s(0.0) == 4.0

    def test_it_ends_with_the_release_and_is_not_lost_then(self) -> None:
        state = leader()
        state.release()
        assert not state.leads(100.0)
        assert not state.is_lost(1000.0)


class TestSpec:
    def test_the_first_holder_starts_the_count_of_transitions(self) -> None:
        state = LeaseState("a", TIMES)
        assert state.held_spec(WALL) == {
            "holderIdentity": "a",
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-11-01T12:00:00.000000Z",
            "renewTime": "2026-11-01T12:00:00.000000Z",
            "leaseTransitions": 0,
        }

    def test_a_new_holder_is_a_transition_and_a_renewal_is_none(self) -> None:
        state = LeaseState("a", TIMES)
        state.read(lease("b", acquireTime="then"), 0.0)
        taken = state.held_spec(WALL)
        assert (taken["leaseTransitions"], taken["acquireTime"]) == (4, taken["renewTime"])
        state.written(lease("a", **taken | {"holderIdentity": "a"}), 0.0)
        renewed = state.held_spec(WALL + timedelta(seconds=2))
        assert (renewed["leaseTransitions"], renewed["acquireTime"]) == (4, taken["acquireTime"])
        assert renewed["renewTime"] == "2026-11-01T12:00:02.000000Z"

    def test_a_released_lease_has_no_holder(self) -> None:
        released = leader().released_spec(WALL)
        assert (released["holderIdentity"], released["leaseDurationSeconds"]) == ("", 1)


@dataclass
class Write:
    """A write request: sent, perhaps applied, perhaps answered."""

    sent_at: float
    version: str | None
    spec: dict[str, Any]
    applied: LeaseView | None = None


class Candidate:
    """One process, whose monotonic clock has its own offset."""

    def __init__(self, name: str, offset: float) -> None:
        self.offset = offset
        self.state = LeaseState(name, TIMES)
        self.write: Write | None = None


class Election:
    """Candidates and the Lease of an API server that applies writes with any delay."""

    def __init__(self, offsets: list[float]) -> None:
        self.true = 1000.0
        self.lease: LeaseView | None = None
        self.versions = 0
        self.names = 0
        self.candidates = [self.newcomer(offset) for offset in offsets]

    def newcomer(self, offset: float = 0.0) -> Candidate:
        """Return a candidate with a unique identity."""
        self.names += 1
        return Candidate(f"c{self.names}", offset)

    def send(self, who: Candidate) -> None:
        """Let a candidate read the Lease, unless it holds it, and send its next write."""
        if who.write is not None:
            return
        if not who.state.holds:
            who.state.read(self.lease, self.true + who.offset)
        now = self.true + who.offset
        if who.state.next_step(now) is not LeaseStep.WAIT:
            seen = who.state.observed
            version = seen.resource_version if seen is not None else None
            who.write = Write(now, version, who.state.held_spec(WALL))

    def apply(self, who: Candidate) -> None:
        """Let the API server apply a pending write, or reject it."""
        write = who.write
        if write is None or write.applied is not None:
            return
        if write.version != (self.lease.resource_version if self.lease is not None else None):
            who.write = None
            who.state.read(self.lease, self.true + who.offset)
            return
        self.versions += 1
        metadata = {"resourceVersion": str(self.versions)}
        self.lease = write.applied = LeaseView.of({"metadata": metadata, "spec": write.spec})

    def answer(self, who: Candidate) -> None:
        """Deliver the response of a write; a timeout if it is not applied yet."""
        write, who.write = who.write, None
        if write is not None and write.applied is not None:
            who.state.written(write.applied, write.sent_at)

    def wait(self, seconds: float) -> None:
        """Advance the time."""
        self.true += seconds

    def check(self) -> None:
        """Fail if two candidates lead. Those that lost the Lease have exited for good."""
        self.candidates = [
            each if not each.state.is_lost(self.true + each.offset) else self.newcomer()
            for each in self.candidates
        ]
        leaders = [c.state.identity for c in self.candidates if c.state.holds]
        assert len(leaders) <= 1, leaders


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["send", "apply", "answer"]), st.integers(0, 1)),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 4.0, 5.0, 9.9, 15.0])),
    ),
    max_size=40,
)


@given(offsets=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2), events=EVENTS)
def test_two_candidates_never_lead_at_the_same_moment(
    offsets: list[float], events: list[tuple[str, Any]]
) -> None:
    """This holds for any delay of requests, lost responses, and clock offsets."""
    election = Election(offsets)
    for kind, value in events:
        if kind == "wait":
            election.wait(value)
        else:
            getattr(election, kind)(election.candidates[value])
        election.check()


def test_a_leader_whose_response_is_late_stops_before_another_one_starts() -> None:
    election = Election([0.0, 500.0])
    slow, other = election.candidates
    election.send(slow)
    election.apply(slow)
    election.send(other)  # reads the Lease, which is new to it
    election.wait(9.9)
    election.answer(slow)
    assert slow.state.leads(election.true)
    election.wait(5.1)
    assert not slow.state.leads(election.true)
    election.send(other)
    election.apply(other)
    election.answer(other)
    assert other.state.leads(election.true + 500.0)


@pytest.mark.parametrize(
    ("serves", "only", "spared", "is_left"),
    [
        ("a,b", ["b", "c"], [], False),
        ("a,b", ["c"], [], True),
        ("a,b", [], ["a"], False),
        ("a,b", [], ["a", "b"], True),
        ("*", ["c"], [], False),
        ("*", [], ["a"], False),
        ("", ["a"], [], True),  # a command
        (None, ["a"], [], True),  # it does not say so: its rights decide
    ],
)
def test_namespaces_count_as_served_only_if_the_holder_names_them(
    serves: str | None, only: list[str], spared: list[str], *, is_left: bool
) -> None:
    annotations = {} if serves is None else {"trainingjob.dev/namespaces": serves}
    metadata = {"resourceVersion": "1", "annotations": annotations}
    held = LeaseView.of({"metadata": metadata, "spec": {"holderIdentity": "a"}})
    assert is_served(held, only=only, spared=spared) is not is_left
    released = LeaseView.of({"metadata": metadata, "spec": {"holderIdentity": ""}})
    assert not is_served(released, only=only, spared=spared)


def test_the_lease_of_a_dead_holder_is_read_again_when_it_expires() -> None:
    state = LeaseState("a", TIMES)
    state.read(lease("b"), 100.0)
    assert state.free_in_s(100.0) == 15.0
    assert state.free_in_s(114.5) == 0.5
    assert state.free_in_s(115.0) == float("inf")
    assert state.next_step(115.0) is LeaseStep.TAKE
