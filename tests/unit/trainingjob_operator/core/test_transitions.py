"""Events derived from the change between two statuses."""

from dataclasses import replace

import pytest

from tests.support.views import (
    at,
    decide,
    failed,
    make_condition,
    make_pod,
    make_shutdown,
    make_status,
    make_view,
    succeeded,
)
from trainingjob_api.constants import (
    CONDITION_CANCELLED,
    CONDITION_COMPLETE,
    CONDITION_FAILED,
    CONDITION_FINISHED,
    CONDITION_PODS_READY,
    CONDITION_RESTARTING,
    CONDITION_SUSPENDED,
    REASON_PODS_NOT_READY,
    REASON_QUOTA_EXCEEDED,
    REASON_UNSCHEDULABLE,
)
from trainingjob_operator.core.job import Condition, JobStatus
from trainingjob_operator.core.transitions import events_between

READY = make_condition(CONDITION_PODS_READY, reason="PodsReady")
NOT_READY = make_condition(CONDITION_PODS_READY, status=False, reason=REASON_PODS_NOT_READY)
REFUSED = make_condition(CONDITION_PODS_READY, status=False, reason=REASON_QUOTA_EXCEEDED)
RESTARTING = make_condition(CONDITION_RESTARTING, reason="PodFailed")


def summary(old: JobStatus, new: JobStatus) -> list[tuple[str, bool]]:
    return [(event.reason, event.warning) for event in events_between(old, new)]


@pytest.mark.parametrize(
    ("old", "new", "events"),
    [
        pytest.param([], [], [], id="nothing happened"),
        pytest.param([NOT_READY], [READY], [], id="becoming ready is no news"),
        pytest.param([READY], [NOT_READY], [], id="ceasing to be ready is none either"),
        pytest.param(
            [NOT_READY], [REFUSED], [(REASON_QUOTA_EXCEEDED, True)], id="an obstacle is a warning"
        ),
        pytest.param([], [REFUSED], [(REASON_QUOTA_EXCEEDED, True)], id="so is one at the start"),
        pytest.param([REFUSED], [REFUSED], [], id="an obstacle is told once"),
        pytest.param(
            [REFUSED],
            [replace(REFUSED, reason=REASON_UNSCHEDULABLE)],
            [(REASON_UNSCHEDULABLE, True)],
            id="another obstacle is told too",
        ),
        pytest.param(
            [REFUSED], [replace(REFUSED, message="other words")], [], id="new words are no news"
        ),
        pytest.param([], [RESTARTING], [("PodFailed", True)], id="a restart is a warning"),
        pytest.param(
            [RESTARTING],
            [replace(RESTARTING, last_transition_time=at(0))],
            [("PodFailed", True)],
            id="a restart while one is pending is told as well",
        ),
        pytest.param(
            [RESTARTING],
            [replace(RESTARTING, status=False, reason="Restarted")],
            [],
            id="the end of a restart is told by the attempt's start",
        ),
        pytest.param(
            [],
            [make_condition(CONDITION_SUSPENDED, reason="Suspended")],
            [("Suspended", False)],
            id="a suspension is told",
        ),
        pytest.param(
            [make_condition(CONDITION_SUSPENDED)],
            [make_condition(CONDITION_SUSPENDED, status=False, reason="Resumed")],
            [("Resumed", False)],
            id="and so is a resume",
        ),
        *(
            pytest.param(
                [],
                [make_condition(kind), make_condition(CONDITION_FINISHED)],
                [("Test", kind == CONDITION_FAILED)],
                id=f"{kind} is told once",
            )
            for kind in (CONDITION_COMPLETE, CONDITION_FAILED, CONDITION_CANCELLED)
        ),
    ],
)
def test_condition_changes_that_cause_events(
    old: list[Condition], new: list[Condition], events: list[tuple[str, bool]]
) -> None:
    assert summary(make_status(*old), make_status(*new)) == events


@pytest.mark.parametrize(
    ("old", "new", "events"),
    [
        pytest.param(None, 0, ["AttemptStarted"], id="the first attempt"),
        pytest.param(0, 1, ["AttemptStarted"], id="the next one"),
        pytest.param(0, 0, [], id="the same"),
    ],
)
def test_the_start_of_an_attempt_causes_an_event(
    old: int | None, new: int | None, events: list[str]
) -> None:
    found = events_between(make_status(launched_attempt=old), make_status(launched_attempt=new))

    assert [event.reason for event in found] == events


def test_a_shutdown_and_its_escalation_cause_events() -> None:
    steps = [
        make_status(),
        *(make_status(shutdown=make_shutdown(m)) for m in ("Stop", "Terminate")),
    ]

    assert [e.message for e in events_between(*steps[:2])] == ["shutdown: Stop"]
    assert [e.message for e in events_between(*steps[1:])] == ["shutdown: Terminate"]
    assert events_between(steps[2], steps[2]) == ()


def test_the_events_of_a_jobs_life() -> None:
    job = make_view()
    told = []
    status = job.status
    for pods in ([], [make_pod()], [failed()]):
        decided = decide(replace(job, status=status), *pods)
        told += [event.reason for event in decided.events]
        status = decided.status
    for seconds, pods in ((60, [make_pod(attempt=1)]), (90, [succeeded(attempt=1)])):
        decided = decide(replace(job, status=status), *pods, now=at(seconds))
        told += [event.reason for event in decided.events]
        status = decided.status

    assert told == [
        "AttemptStarted",
        "PodFailed",
        "AttemptStarted",
        "CompletionsReached",
    ]
