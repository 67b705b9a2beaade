"""The operator's status writes leave conditions of other controllers unchanged."""

from typing import Any

import pytest

from tests.support.builders import make_job
from tests.support.views import NOW
from trainingjob_api.constants import JOB_CONDITIONS
from trainingjob_operator.core.job import JobStatus
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.core.status_draft import StatusDraft
from trainingjob_operator.core.status_wire import status_document, status_patch

Object = dict[str, Any]

FOREIGN: dict[str, Object] = {
    "of status Unknown": {
        "type": "example.com/Billed",
        "status": "Unknown",
        "reason": "Asking",
        "message": "",
        "lastTransitionTime": "2026-01-31T12:00:00Z",
    },
    "without a transition time": {"type": "Scanned", "status": "True"},
    "with fractions of a second and another zone": {
        "type": "QuotaReserved",
        "status": "True",
        "reason": "Reserved",
        "message": "in the queue",
        "lastTransitionTime": "2026-01-31T13:00:00.123456+01:00",
        "observedGeneration": 7,
    },
    "with a field that is not known": {"type": "Odd", "status": "False", "severity": 3},
    "without a type": {"status": "True"},
}


def read(*conditions: Object) -> JobStatus:
    return job_view(
        {**make_job(), "status": {"phase": "Pending", "conditions": [*conditions]}}
    ).status


def with_ours(status: JobStatus, kind: str = "PodsReady", *, to: bool = True) -> JobStatus:
    draft = StatusDraft(status=status, now=NOW, generation=1)
    return draft.with_condition(kind, to=to, reason="Test", message="").status


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
def test_a_condition_of_another_controller_is_written_back_unchanged(foreign: Object) -> None:
    status = read(foreign)

    patch = status_patch(status, with_ours(status))

    assert patch["conditions"][0] == foreign
    assert [c["type"] for c in patch["conditions"][1:]] == ["PodsReady"]


def test_conditions_of_others_keep_their_order_among_ours() -> None:
    others = list(FOREIGN.values())
    ours = status_document(with_ours(JobStatus()))["conditions"]

    document = status_document(with_ours(read(*others[:2], *ours, *others[2:]), to=False))

    kept = document["conditions"]
    assert [*kept[:2], *kept[3:]] == others
    assert (kept[2]["type"], kept[2]["status"]) == ("PodsReady", "False")


def test_conditions_of_others_alone_cause_no_write() -> None:
    status = read(*FOREIGN.values())

    assert status_patch(status, status) == {}


def test_conditions_of_others_do_not_affect_decisions() -> None:
    status = read({**FOREIGN["of status Unknown"], "type": "complete", "status": "True"})

    assert not status.is_finished
    assert not status.is_true("complete")


@pytest.mark.parametrize("kind", JOB_CONDITIONS)
def test_an_invalid_condition_of_ours_is_ignored(kind: str) -> None:
    without_time = {"type": kind, "status": "True", "reason": "Test", "message": ""}
    unknown = {**without_time, "status": "Unknown", "lastTransitionTime": "2026-01-31T12:00:00Z"}

    for odd in (without_time, unknown):
        status = read(odd)
        assert not status.is_true(kind)
        [condition] = status_document(with_ours(status, kind))["conditions"]
        assert (condition["type"], condition["status"]) == (kind, "True")
