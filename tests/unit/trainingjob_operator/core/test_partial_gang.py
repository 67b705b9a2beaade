"""Partly created gangs: how long they keep their pods, and when they are retried."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.views import (
    NOW,
    UID,
    at,
    decide,
    deleted_names,
    deleting,
    make_condition,
    make_pod,
    make_status,
    make_view,
    pending,
    succeeded,
)
from trainingjob_api.constants import (
    CONDITION_PODS_READY,
    CONDITION_RESTARTING,
    REASON_PARTLY_REFUSED,
    REASON_QUOTA_EXCEEDED,
)
from trainingjob_operator.core.decision import DecisionSettings, Refusal
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.partial_gang import gang_retry_at, partial_hold_deadline
from trainingjob_operator.core.pod import PodView

POLICY = DecisionSettings(partial_hold_s=60)
YOUNG, OLD = 0, -86_400
UIDS = [UID, *(f"{number:08}-aaaa-4bbb-8ccc-222222222222" for number in range(199))]


def refused(at_s: float = 0, *, since_s: float | None = -600) -> Refusal:
    """A refusal of a gang that has had only a part of its pods for ten minutes."""
    return Refusal(
        reason=REASON_QUOTA_EXCEEDED,
        message="no room",
        retry_at=at(at_s + 60),
        attempt=0,
        generation=1,
        refused_at=at(at_s),
        partly_since=None if since_s is None else at(since_s),
        changed_retry_at=at(at_s),
    )


def job(uid: str = UID, created_s: float = OLD) -> JobView:
    return make_view(nodes=3, uid=uid, created_at=at(created_s))


def holds_s(uid: str, created_s: float) -> float:
    ends = partial_hold_deadline(refused(since_s=0), job(uid, created_s), POLICY)
    assert ends is not None
    return (ends - NOW).total_seconds()


def retry_wait_s(uid: str, created_s: float, *, times: int = 1) -> float:
    status = make_status(
        make_condition(CONDITION_RESTARTING, reason=REASON_PARTLY_REFUSED, since_s=0),
        attempt=times,
    )
    due = gang_retry_at(job(uid, created_s), status, POLICY)
    assert due is not None
    return (due - NOW).total_seconds()


def test_the_older_of_two_gangs_holds_longer_and_is_retried_sooner() -> None:
    assert all(60 <= holds_s(uid, YOUNG) <= 120 <= holds_s(uid, OLD) <= 180 for uid in UIDS)
    assert all(
        15 <= retry_wait_s(uid, OLD) <= 76 and 75 <= retry_wait_s(uid, YOUNG) <= 135
        for uid in UIDS
    )


@pytest.mark.parametrize("created_s", [YOUNG, OLD])
@pytest.mark.parametrize("length_s", [holds_s, retry_wait_s])
def test_gangs_of_the_same_age_get_different_holds_and_waits(
    length_s: object, created_s: float
) -> None:
    lengths = sorted(length_s(uid, created_s) for uid in UIDS)  # type: ignore[operator]
    assert lengths[0] + 50 < lengths[-1]
    assert len(set(lengths)) == len(UIDS)
    assert lengths[50] + 10 < lengths[100]


def test_the_wait_grows_with_each_retry_up_to_four_times_the_first() -> None:
    longest = [max(retry_wait_s(uid, YOUNG, times=n) for uid in UIDS) for n in (1, 2, 3, 4, 999)]
    assert longest == pytest.approx([135, 270, 540, 540, 540], rel=0.03)


def test_deleting_a_partial_gang_counts_neither_as_a_failure_nor_as_a_disruption() -> None:
    decided = decide(job(), make_pod(0), pending(1), refusal=refused(), policy=POLICY)

    status = decided.status
    restarting, ready = (status.condition(c) for c in (CONDITION_RESTARTING, CONDITION_PODS_READY))
    assert restarting is not None
    assert ready is not None
    assert (restarting.status, restarting.reason) == (True, REASON_PARTLY_REFUSED)
    assert (ready.status, ready.reason) == (False, REASON_QUOTA_EXCEEDED)
    assert "no room" in ready.message
    assert (status.attempt, status.restarts, status.disruptions) == (1, 0, 0)
    assert deleted_names(decided) == {make_pod(0).name, make_pod(1).name}
    away = replace(job(), status=status)
    again = decide(away, refusal=refused(), policy=POLICY)
    assert again.create == ()
    assert again.requeue_at == gang_retry_at(away, status, POLICY)
    assert decide(away, now=at(600), policy=POLICY).create == (0, 1, 2)


def test_a_gang_tries_once_more_before_its_pods_are_deleted() -> None:
    ends = partial_hold_deadline(refused(since_s=-100), job(), POLICY)
    assert ends is not None
    earlier = refused(-1, since_s=-100)
    seen = (make_pod(0), pending(1))

    waits = decide(job(), *seen, refusal=earlier, policy=POLICY)
    asks = decide(job(), *seen, refusal=earlier, policy=POLICY, now=ends)

    assert (waits.create, waits.requeue_at) == ((), min(ends, earlier.retry_at))
    assert (asks.create, asks.delete) == ((2,), ())
    assert asks.status.attempt == 0


@pytest.mark.parametrize(
    ("pods", "refusal", "policy"),
    [
        pytest.param((), refused(since_s=None), POLICY, id="it has no pods"),
        pytest.param(
            (succeeded(0), pending(1)), refused(), POLICY, id="one of its ranks has completed"
        ),
        pytest.param(
            (pending(0),), refused(), DecisionSettings(partial_hold_s=0), id="the setting says so"
        ),
        pytest.param(
            (pending(0),),
            replace(refused(), attempt=7),
            POLICY,
            id="the refusal is of another attempt",
        ),
        pytest.param(
            (pending(0), pending(1), pending(2)), refused(), POLICY, id="all of its pods exist"
        ),
    ],
)
def test_a_gang_keeps_its_pods(
    pods: tuple[PodView, ...], refusal: Refusal, policy: DecisionSettings
) -> None:
    decided = decide(job(), *pods, refusal=refusal, policy=policy)

    assert decided.status.attempt == 0
    assert decided.delete == ()


def test_the_wait_for_a_retry_does_not_count_towards_the_pre_running_deadline() -> None:
    status = make_status(attempt_start_time=at(-200))
    gang = make_view(status, nodes=3, created_at=at(OLD), pre_running_deadline_s=300)

    decided = decide(gang, pending(0), refusal=refused(), policy=POLICY)

    wait = timedelta(seconds=retry_wait_s(UID, OLD))
    assert decided.status.attempt_start_time == at(-200) + wait


def test_the_pre_running_deadline_is_paused_until_the_old_pods_are_removed() -> None:
    """Old pods may take long to write a checkpoint, and the next attempt cannot start before."""
    status = make_status(attempt_start_time=at(-200))
    gang = make_view(
        status, nodes=3, created_at=at(OLD), pre_running_deadline_s=300, backoff_limit=0
    )
    given = decide(gang, make_pod(0), refusal=refused(), policy=POLICY)
    away = replace(gang, status=given.status)
    waits = decide(away, deleting(make_pod(0)), now=at(3600), policy=POLICY)
    assert not waits.status.is_finished

    back = decide(replace(gang, status=waits.status), now=at(4000), policy=POLICY)
    assert back.create == (0, 1, 2)
    assert back.status.attempt_start_time == at(4000 - 200)
    again = decide(replace(gang, status=back.status), now=at(4099), policy=POLICY)
    assert again.status.attempt_start_time == at(4000 - 200), "it goes on"
    assert again.requeue_at == at(4100)
    over = decide(replace(gang, status=back.status), now=at(4100), policy=POLICY)
    assert over.status.is_finished
