"""Deliveries: records are sent first, results are written after, and both within a bounded time."""

import pytest

from tests.support.clock import FakeClock
from trainingjob_operator.core.decision import Delivery
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.records.deliveries import MAX_NOTIFIED, YIELD_S, Deliveries

STUCK_S = 10.0


class Desk:
    """News, and what the reconciler was told of them."""

    def __init__(self, limit: int = 1000) -> None:
        self.clock = FakeClock()
        self.told: list[JobKey] = []
        self.deliveries = Deliveries(limit, self.clock, on_delivery=self.told.append)

    def bring(self, *names: str) -> None:
        for name in names:
            delivery = Delivery(uid=f"uid-{name}", revision=1, result="Stored", message="")
            self.deliveries.add(key(name), delivery)


def key(name: str) -> JobKey:
    return JobKey("ml", name)


def names(count: int) -> list[str]:
    return [f"job-{number:03}" for number in range(count)]


def test_deliveries_are_passed_on_at_once_while_no_records_are_sent() -> None:
    desk = Desk()
    desk.bring("mnist")
    desk.deliveries.notify(sending=False)
    assert desk.told == [key("mnist")]
    desk.deliveries.notify(sending=False)
    assert desk.told == [key("mnist")], "once"
    assert len(desk.deliveries) == 1, "they are kept until they are settled"


def test_deliveries_wait_while_records_are_sent_but_not_for_ever() -> None:
    desk = Desk()
    desk.bring("early")
    desk.clock.tick(1)
    desk.bring("late")
    desk.clock.tick(YIELD_S - 1.5)
    desk.deliveries.notify(sending=True)
    assert desk.told == []
    assert desk.deliveries.waits
    desk.clock.tick(1)
    desk.deliveries.notify(sending=True)
    assert desk.told == [key("early")]
    desk.deliveries.notify(sending=False)
    assert desk.told == [key("early"), key("late")]
    assert not desk.deliveries.waits


def test_only_so_many_are_in_hand_and_each_that_is_settled_lets_the_next_one_pass() -> None:
    desk = Desk()
    desk.bring(*names(MAX_NOTIFIED + 2))
    desk.deliveries.notify(sending=False)
    assert len(desk.told) == MAX_NOTIFIED
    assert desk.deliveries.forget_delivery(desk.told[0])
    desk.deliveries.notify(sending=False)
    assert desk.told[MAX_NOTIFIED:] == [key(f"job-{MAX_NOTIFIED:03}")]


def test_those_that_cannot_be_settled_hold_up_no_others() -> None:
    desk = Desk()
    desk.bring(*names(MAX_NOTIFIED + 1))
    desk.deliveries.notify(sending=False)
    desk.clock.tick(STUCK_S + 1)
    desk.deliveries.notify(sending=False)
    assert len(desk.told) == MAX_NOTIFIED + 1
    assert len(desk.deliveries) == MAX_NOTIFIED + 1


def test_at_the_limit_the_oldest_are_evicted_and_leave_nothing_behind() -> None:
    desk = Desk(limit=2)
    desk.bring("a", "b", "c")
    assert len(desk.deliveries) == 2
    desk.deliveries.notify(sending=False)
    assert desk.told == [key("b"), key("c")]
    assert not desk.deliveries.forget_delivery(key("a"))


def test_a_newer_delivery_of_a_job_replaces_the_older_and_is_passed_on_again() -> None:
    desk = Desk()
    desk.bring("mnist")
    desk.deliveries.notify(sending=False)
    desk.bring("mnist")
    desk.deliveries.notify(sending=False)
    assert (desk.told, len(desk.deliveries)) == ([key("mnist")] * 2, 1)


@pytest.mark.parametrize("waited_s", [0.0, STUCK_S + 1], ids=["just settled", "long ago"])
def test_it_is_stuck_when_nothing_has_been_settled_for_a_while(waited_s: float) -> None:
    desk = Desk()
    desk.bring("mnist")
    assert desk.deliveries.forget_delivery(key("mnist"))
    desk.clock.tick(waited_s)
    assert desk.deliveries.is_stuck == (waited_s > STUCK_S)
    assert len(desk.deliveries) == 0
