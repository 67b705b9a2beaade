"""One candidate and a Lease in memory: what it writes, and when its process exits."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from tests.support.clock import FakeClock
from tests.support.processes.processes import eventually
from trainingjob_api.errors import AlreadyExistsError, ConflictError, UnavailableError
from trainingjob_operator.core.lease import LeaseTimes, LeaseView
from trainingjob_operator.kube.lease import LeaseGateway
from trainingjob_operator.leadership import Leadership, new_identity

TIMES = LeaseTimes(duration_s=15.0, renew_deadline_s=10.0, retry_s=0.01)
PATIENCE_S = 30.0


class Store:
    """The Lease, and what goes wrong with its next calls."""

    namespace, name = "ml", "operator"

    def __init__(self) -> None:
        self.lease: LeaseView | None = None
        self.versions = 0
        self.calls = 0
        self.fails = False
        self.loses_answers = 0
        self.closed = False

    def put(self, spec: dict[str, Any]) -> LeaseView:
        self.versions += 1
        self.lease = LeaseView.of(
            {"metadata": {"resourceVersion": str(self.versions)}, "spec": spec}
        )
        return self.lease

    def held_by(self, holder: str) -> None:
        self.put({"holderIdentity": holder, "leaseDurationSeconds": 15})

    async def read_lease(self) -> LeaseView | None:
        self._call()
        return self.lease

    async def create_lease(self, spec: dict[str, Any]) -> LeaseView:
        self._call()
        if self.lease is not None:
            raise AlreadyExistsError("it is there")
        return self._answered(self.put(spec))

    async def replace_lease(self, seen: LeaseView, spec: dict[str, Any]) -> LeaseView:
        self._call()
        if self.lease is None or self.lease.resource_version != seen.resource_version:
            raise ConflictError("another version")
        return self._answered(self.put(spec))

    async def close(self) -> None:
        self.closed = True

    def _call(self) -> None:
        self.calls += 1
        if self.fails:
            raise UnavailableError("down")

    def _answered(self, lease: LeaseView) -> LeaseView:
        if self.loses_answers:
            self.loses_answers -= 1
            raise UnavailableError("the answer was lost")
        return lease


class Candidate:
    """The subject, with its store, its clock and the reason for which it lost the Lease."""

    def __init__(self, store: Store | None = None) -> None:
        self.store, self.clock = store or Store(), FakeClock()
        self.lost = threading.Event()
        self.leadership = Leadership(
            cast("LeaseGateway", self.store),
            self.clock,
            identity="us",
            times=TIMES,
            on_lost=lambda reason: self.lost.set(),
        )


@asynccontextmanager
async def running(store: Store | None = None) -> AsyncIterator[Candidate]:
    candidate = Candidate(store)
    candidate.leadership.start()
    try:
        yield candidate
    finally:
        await candidate.leadership.stop()


async def leading(candidate: Candidate) -> None:
    await asyncio.wait_for(candidate.leadership.wait_until_acquired(), PATIENCE_S)


async def test_it_leads_with_a_lease_of_its_own_and_renews_it() -> None:
    async with running() as us:
        await leading(us)
        assert us.leadership.leads
        us.clock.tick(9.0)
        before = us.store.versions
        await eventually(lambda: us.store.versions > before + 1)
        us.clock.tick(9.0)
        assert us.leadership.leads


async def test_it_waits_while_another_one_holds_the_lease_and_acquires_a_released_one() -> None:
    store = Store()
    store.held_by("them")
    async with running(store) as us:
        await eventually(lambda: store.calls > 3)
        assert not us.leadership.leads
        assert store.versions == 1
        store.held_by("")
        await leading(us)
        assert store.lease is not None
        assert store.lease.holder == "us"


async def test_a_write_whose_response_was_lost_neither_exits_nor_leads_too_early() -> None:
    store = Store()
    store.loses_answers = 2
    async with running(store) as us:
        await leading(us)
        store.loses_answers = 1
        before = store.versions
        await eventually(lambda: store.versions > before + 3)
        assert us.leadership.leads
        assert not us.lost.is_set()


async def test_a_blocked_event_loop_does_not_keep_a_process_alive_after_its_lease() -> None:
    async with running() as us:
        await leading(us)
        us.clock.tick(10.0)
        assert us.lost.wait(PATIENCE_S), "it waits in the event loop's own thread"
        assert not us.leadership.leads


@pytest.mark.parametrize("how", ["taken", "down"])
async def test_the_process_ends_when_the_lease_is_taken_or_cannot_be_renewed(how: str) -> None:
    async with running() as us:
        await leading(us)
        if how == "taken":
            us.store.held_by("them")
        else:
            us.store.fails = True
            us.clock.tick(10.0)
        await eventually(us.lost.is_set, within_s=PATIENCE_S)
        assert not us.leadership.leads
    assert us.store.lease is not None
    assert us.store.lease.holder != "", "what is lost is not ours to release"


async def test_a_deleted_lease_is_created_again() -> None:
    async with running() as us:
        await leading(us)
        us.store.lease = None
        await eventually(lambda: us.store.lease is not None)
        assert us.leadership.leads


async def test_it_gives_the_lease_back_when_it_stops_and_writes_nothing_from_then_on() -> None:
    async with running() as us:
        await leading(us)
    assert us.store.lease is not None
    assert (us.store.lease.holder, us.store.lease.duration_s) == ("", 1)
    assert not us.leadership.leads
    assert us.store.closed
    assert not us.lost.is_set()


async def test_it_logs_once_why_it_cannot_acquire_the_lease(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store()
    store.fails = True
    async with running(store):
        await eventually(lambda: store.calls > 5)
    said = [each.message for each in caplog.records if "cannot acquire or renew" in each.message]
    assert said == ["cannot acquire or renew the Lease ml/operator: down"]


async def test_an_election_that_breaks_does_not_leave_a_standby_that_waits_for_ever() -> None:
    candidate = Candidate()
    candidate.store.read_lease = lambda: 1 / 0  # type: ignore[assignment, return-value]
    candidate.leadership.start()
    with pytest.raises(RuntimeError, match="election has ended"):
        await leading(candidate)
    await candidate.leadership.stop()


def test_no_two_processes_have_the_same_name_in_the_lease() -> None:
    assert new_identity("pod-1").startswith("pod-1_")
    assert new_identity("pod-1") != new_identity("pod-1")


async def test_a_renewal_that_was_accepted_when_it_was_cancelled_is_released_all_the_same() -> (
    None
):
    async with running() as us:
        await leading(us)
        assert us.store.lease is not None
        us.store.put(us.store.lease.raw["spec"])  # its answer never arrives
    assert us.store.lease.holder == ""


async def test_a_candidate_that_was_cancelled_in_its_first_write_leaves_no_dead_holder() -> None:
    us = Candidate()
    us.store.held_by("us")
    await us.leadership.stop()
    assert us.store.lease is not None
    assert us.store.lease.holder == ""


async def test_what_is_not_expected_costs_a_leader_nothing_if_it_passes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as us:
        await leading(us)
        replace = us.store.replace_lease
        us.store.replace_lease = lambda seen, spec: 1 / 0  # type: ignore[assignment, method-assign, return-value]
        await eventually(lambda: "failed unexpectedly" in caplog.text)
        us.store.replace_lease = replace  # type: ignore[method-assign]
        before = us.store.versions
        await eventually(lambda: us.store.versions > before)
        assert us.leadership.leads
    assert "ZeroDivisionError" in caplog.text


async def test_a_standby_is_ready_only_while_it_could_take_over() -> None:
    store = Store()
    store.held_by("them")
    store.fails = True
    async with running(store) as us:
        await eventually(lambda: store.calls > 1)
        assert us.leadership.standby_problem() == "has not seen the Lease ml/operator yet: down"
        store.fails = False
        await eventually(lambda: us.leadership.standby_problem() is None)
        store.fails = True
        before = store.calls
        await eventually(lambda: store.calls > before + 1)
        assert us.leadership.standby_problem() is None
        us.clock.tick(15.0)
        assert us.leadership.standby_problem() == "cannot acquire the Lease ml/operator: down"
