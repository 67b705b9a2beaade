"""When a record is required, its states, and when the finalizer is released; one row for each rule."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.views import KEY, NOW, UID, at, make_condition
from trainingjob_api.constants import FINALIZER_RECORD
from trainingjob_operator.core.decision import DecisionSettings, Delivery, Observation
from trainingjob_operator.core.job import JobStatus, JobView
from trainingjob_operator.core.job_stage import awaits_release
from trainingjob_operator.core.plan import plan
from trainingjob_operator.core.record_lifecycle import (
    may_release,
    must_claim,
    must_reclaim,
    open_record,
    settle_record,
)
from trainingjob_operator.core.status_draft import StatusDraft

ON = DecisionSettings(recording=True, record_deadline_s=86_400)
OFF = DecisionSettings(recording=False)
COMPLETE = JobStatus(
    phase="Succeeded",
    launched_attempt=0,
    conditions=(make_condition("Complete"), make_condition("Finished")),
)


def job(*, owed: bool = True, status: JobStatus | None = None, **fields: Any) -> JobView:
    return JobView(
        key=KEY,
        uid=UID,
        resource_version="7",
        generation=1,
        created_at=at(-3600),
        finalizers=(FINALIZER_RECORD,) if owed else (),
        status=status or JobStatus(launched_attempt=0),
        **fields,
    )


def finished(state: str, *, revision: int = 1, **fields: Any) -> JobView:
    status = replace(COMPLETE, record_state=state, record_revision=revision)
    return job(status=status, **fields)


def draft(view: JobView, status: JobStatus | None = None) -> StatusDraft:
    return StatusDraft.of(view, status=status, now=NOW)


def reason(status: JobStatus) -> tuple[bool, str]:
    found = status.condition("Persisted")
    assert found is not None
    return found.status, found.reason


# --- claiming -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "policy", "claims"),
    [
        (job(owed=False), ON, True),
        (job(owed=False), OFF, False),
        (job(owed=True), ON, False),
        (job(owed=False, status=COMPLETE), ON, False),
        (job(owed=False, deleting=True), ON, False),
        (job(owed=False, discard_record=True), ON, False),
        (job(owed=False, invalid="spec: no"), ON, False),
    ],
    ids=["new", "off", "claimed", "finished", "deleting", "given up", "invalid"],
)
def test_a_job_is_claimed_while_it_is_unfinished_and_recording_is_on(
    subject: JobView, policy: DecisionSettings, *, claims: bool
) -> None:
    assert must_claim(subject, policy) is claims


@pytest.mark.parametrize(
    ("subject", "claims"),
    [
        (finished("Pending", owed=False), True),
        (finished("Rejected", owed=False), True),
        (finished("Stored", owed=False), False),
        (finished("NotRequired", owed=False), False),
        (finished("Pending"), False),
        (finished("Pending", owed=False, deleting=True), False),
        (finished("Pending", owed=False, discard_record=True), False),
        (job(owed=False), False),
    ],
)
@pytest.mark.parametrize("policy", [ON, OFF])
def test_a_job_with_a_pending_record_and_no_finalizer_is_claimed_again(
    subject: JobView, policy: DecisionSettings, *, claims: bool
) -> None:
    assert must_reclaim(subject, subject.status) is claims
    if claims:
        assert awaits_release(subject), "or nobody would look at it"
        assert plan(Observation(job=subject), policy, now=NOW).claim


# --- at the end ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "state", "why"),
    [
        (Observation(job=job()), "Pending", "Pending"),
        (Observation(job=job(), endpoint_is_down=True), "Pending", "Unavailable"),
        (Observation(job=job(owed=False)), "NotRequired", "NotRequired"),
        (Observation(job=job(discard_record=True)), "NotRequired", "Discarded"),
        (Observation(job=job(deleting=True)), "Pending", "Pending"),
        (Observation(job=job(deleting=True, status=JobStatus())), "NotRequired", "NotRequired"),
        (
            Observation(job=job(deleting=True, status=JobStatus(attempt=1))),
            "Pending",
            "Pending",
        ),
        (
            Observation(job=job(deleting=True, status=JobStatus()), vanished=frozenset({0})),
            "Pending",
            "Pending",
        ),
    ],
)
def test_the_finalizer_and_the_job_decide_if_a_record_is_required(
    seen: Observation, state: str, why: str
) -> None:
    status = open_record(draft(seen.job, COMPLETE), seen).status
    assert status.record_state == state
    assert status.record_revision == (1 if state == "Pending" else None)
    assert reason(status) == (False, why)


# --- results of deliveries ----------------------------------------------------------------------


def delivered(result: Any, *, revision: int = 1, uid: str = UID) -> Delivery:
    return Delivery(uid=uid, revision=revision, result=result, message="because")


@pytest.mark.parametrize(
    ("state", "revision", "delivery", "after", "revision_after"),
    [
        ("Pending", 1, delivered("Stored"), "Stored", 1),
        ("Rejected", 1, delivered("Stored"), "Stored", 1),
        ("Pending", 1, delivered("Rejected"), "Rejected", 1),
        ("Pending", 1, delivered("Conflict"), "Pending", 2),
        ("Pending", 2, delivered("Conflict", revision=2), "Rejected", 2),
        ("Pending", 2, delivered("Stored", revision=1), "Pending", 2),
        ("Pending", 1, delivered("Stored", uid="another"), "Pending", 1),
        ("Pending", 1, None, "Pending", 1),
        ("Stored", 1, delivered("Rejected"), "Stored", 1),
        ("NotRequired", 1, delivered("Stored"), "NotRequired", 1),
    ],
)
def test_a_delivery_applies_only_to_its_own_revision(
    state: str, revision: int, delivery: Delivery | None, after: str, revision_after: int
) -> None:
    view = finished(state, revision=revision)
    status = settle_record(draft(view), Observation(job=view, delivery=delivery)).status
    assert (status.record_state, status.record_revision) == (after, revision_after)
    again = Observation(job=replace(view, status=status), delivery=delivery)
    if after != "Rejected" or revision_after == revision:
        later = StatusDraft.of(again.job, now=at(9))
        assert settle_record(later, again) == later, "it is settled once"


def test_a_rejection_has_the_receivers_message() -> None:
    view = finished("Pending")
    seen = Observation(job=view, delivery=delivered("Rejected"))
    status = settle_record(draft(view), seen).status
    found = status.condition("Persisted")
    assert found is not None
    assert (found.status, found.reason, found.message) == (False, "Rejected", "because")


# --- release ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "released"),
    [
        (finished("Stored"), True),
        (finished("NotRequired"), True),
        (finished("Pending"), False),
        (finished("Rejected"), False),
        (finished("Rejected", deleting=True, deleted_at=at(0)), True),
        (finished("Pending", deleting=True, deleted_at=at(-86_399)), False),
        (finished("Pending", deleting=True, deleted_at=at(-86_400)), True),
        (finished("Stored", owed=False), False),
        (job(), False),
        (job(deleting=True, deleted_at=at(-100_000)), False),
    ],
)
def test_a_job_is_released_when_its_record_is_settled_or_the_deadline_of_its_deletion_expires(
    view: JobView, *, released: bool
) -> None:
    assert may_release(view.status, view, ON, now=NOW) is released
