"""TTL of finished jobs: which expire, when, and by which rule."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.builders import make_job
from tests.support.views import NOW, at, make_condition, make_status, make_view
from trainingjob_api.constants import FINALIZER_RECORD
from trainingjob_operator.core.gitops import gitops_owner, instance_label
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.core.retention import (
    BY_DEFAULT,
    BY_JOB,
    BY_NAMESPACE,
    BY_SETTINGS,
    DELETING,
    GITOPS,
    KEPT,
    LOGS_PENDING,
    NOT_FINISHED,
    POLICY_UNKNOWN,
    RECORD_HELD,
    RECORD_PENDING,
    RECORD_REJECTED,
    Inherited,
    Rules,
    judge,
)

OUTCOMES: Final = ("Complete", "Failed", "Cancelled")
HOUR: Final = Inherited(settings_ttl_s=3600)
BY_HELM: Final = {"app.kubernetes.io/managed-by": "Helm"}
TRACKED: Final = {"argocd.argoproj.io/tracking-id": "app:trainingjob.dev/TrainingJob:ml/x"}


def ended(
    outcome: str = "Complete", *, ago_s: float = 0, state: str | None = "Stored", **fields: Any
) -> JobView:
    """A job that finished `ago_s` seconds ago."""
    conditions = (make_condition(outcome, since_s=-ago_s), make_condition("Finished"))
    status = make_status(*conditions, completion_time=at(-ago_s), record_state=state)
    return make_view(status, **fields)


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("state", ["Stored", "NotRequired"])
def test_a_job_expires_after_its_ttl_whatever_its_outcome(outcome: str, state: str) -> None:
    assert judge(ended(outcome, ago_s=3600, state=state), HOUR, now=NOW).expired
    verdict = judge(ended(outcome, ago_s=3599, state=state), HOUR, now=NOW)
    assert (verdict.expired, verdict.due_at) == (False, at(1))


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_most_specific_ttl_takes_precedence(outcome: str) -> None:
    by_outcome = {"complete_s": 3, "failed_s": 3, "cancelled_s": 3}
    everything = Inherited(
        own=Rules(ttl_s=4, **by_outcome), default=Rules(ttl_s=6, complete_s=5), settings_ttl_s=7
    )
    job = ended(outcome)
    own = replace(job, spec=replace(job.spec, ttl_s=2))
    said = [
        judge(own, everything, now=NOW),
        judge(job, everything, now=NOW),
        judge(job, replace(everything, own=Rules(ttl_s=4)), now=NOW),
        judge(job, replace(everything, own=Rules(), default=Rules(**by_outcome)), now=NOW),
        judge(job, replace(everything, own=Rules(), default=Rules(ttl_s=6)), now=NOW),
        judge(job, replace(everything, own=Rules(), default=Rules()), now=NOW),
    ]
    assert [(verdict.due_at, verdict.rule) for verdict in said] == [
        (at(2), BY_JOB),
        (at(3), BY_NAMESPACE),
        (at(4), BY_NAMESPACE),
        (at(3), BY_DEFAULT),
        (at(6), BY_DEFAULT),
        (at(7), BY_SETTINGS),
    ]


def test_an_outcome_without_a_ttl_of_its_own_uses_the_policys_general_ttl() -> None:
    rules = Inherited(own=Rules(ttl_s=10, failed_s=20))
    assert judge(ended("Complete"), rules, now=NOW).due_at == at(10)
    assert judge(ended("Failed"), rules, now=NOW).due_at == at(20)


def test_a_ttl_of_zero_expires_at_once() -> None:
    assert judge(ended(ttl_s=0), HOUR, now=NOW).expired
    assert judge(ended(), Inherited(own=Rules(ttl_s=0)), now=NOW).expired


@pytest.mark.parametrize(("ahead_s", "said_s"), [(3600, 3600), (61, 61), (60, 0), (-5, 0)])
def test_a_finish_time_in_the_future_defers_and_clock_skew_is_not_reported(
    ahead_s: float, said_s: float
) -> None:
    verdict = judge(ended(ago_s=-ahead_s, ttl_s=10), HOUR, now=NOW)
    assert not verdict.expired
    assert verdict.due_at == at(ahead_s + 10)
    assert verdict.ahead == timedelta(seconds=said_s)
    assert judge(ended(ago_s=-ahead_s, ttl_s=10), HOUR, now=at(ahead_s + 10)).expired


def test_a_finish_time_at_the_end_of_the_calendar_is_no_error() -> None:
    job = ended()
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    verdict = judge(replace(job, status=replace(job.status, completion_time=last)), HOUR, now=NOW)
    assert not verdict.expired
    assert verdict.due_at is not None
    assert verdict.due_at >= last


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"state": "Pending"}, RECORD_PENDING),
        ({"state": "Nonsense"}, RECORD_PENDING),
        ({"state": "Rejected"}, RECORD_REJECTED),
        ({"finalizers": (FINALIZER_RECORD,)}, RECORD_HELD),
        ({"state": None, "finalizers": (FINALIZER_RECORD,)}, RECORD_HELD),
        ({"keep": True}, KEPT),
        ({"deleting": True}, DELETING),
        ({"gitops_owner": "Flux"}, GITOPS),
    ],
)
def test_a_held_job_has_a_reason(fields: dict[str, Any], reason: str) -> None:
    verdict = judge(ended(ago_s=7200, **fields), HOUR, now=NOW)
    assert (verdict.expired, verdict.held_by) == (False, reason)
    assert verdict.is_held(now=NOW)
    early = judge(ended(ago_s=60, **fields), HOUR, now=NOW)
    assert not early.is_held(now=NOW)


@pytest.mark.parametrize(("reason", "expired"), [("Pending", False), ("Truncated", True)])
def test_pending_logs_are_waited_for(reason: str, expired: bool) -> None:
    job = ended(ago_s=3600)
    logs = make_condition("LogsArchived", status=False, reason=reason)
    conditions = (*job.status.conditions, logs)
    job = replace(job, status=replace(job.status, conditions=conditions))
    verdict = judge(job, HOUR, now=NOW)
    assert (verdict.expired, verdict.held_by) == (expired, "" if expired else LOGS_PENDING)


def test_a_rejected_record_that_was_given_up_does_not_hold_the_job() -> None:
    assert judge(ended(ago_s=3600, state="Rejected", discard_record=True), HOUR, now=NOW).expired


def test_a_job_owned_by_gitops_expires_only_by_its_own_ttl() -> None:
    assert judge(ended(ago_s=60, gitops_owner="Helm", ttl_s=60), HOUR, now=NOW).expired


def test_while_the_policy_is_unknown_a_job_expires_only_by_its_own_ttl() -> None:
    assert judge(ended(ago_s=60, ttl_s=60), None, now=NOW).expired
    verdict = judge(ended(ago_s=10**6), None, now=NOW)
    assert (verdict.expired, verdict.held_by, verdict.due_at) == (False, POLICY_UNKNOWN, None)


def test_without_a_completion_time_the_terminal_conditions_time_counts() -> None:
    job = ended(ago_s=100)
    job = replace(job, status=replace(job.status, completion_time=None))
    assert judge(job, HOUR, now=NOW).due_at == at(3500)


def test_a_finish_time_in_the_future_defers_the_deletion() -> None:
    verdict = judge(ended(ago_s=-600, ttl_s=0), HOUR, now=NOW)
    assert (verdict.expired, verdict.due_at) == (False, at(600))


@pytest.mark.parametrize("suspended", [True, False])
def test_an_unfinished_job_never_expires(suspended: bool) -> None:
    conditions = (make_condition("Suspended"),) if suspended else ()
    job = make_view(make_status(*conditions), suspend=suspended, ttl_s=0)
    assert judge(job, HOUR, now=at(10**9)) == NOT_FINISHED


@pytest.mark.parametrize(
    ("labels", "annotations", "owner"),
    [
        ({}, TRACKED, "Argo CD"),
        ({"argocd.argoproj.io/instance": "app"}, {}, "Argo CD"),
        ({"kustomize.toolkit.fluxcd.io/name": "app"}, {}, "Flux"),
        ({"helm.toolkit.fluxcd.io/namespace": "app"}, {}, "Flux"),
        (BY_HELM, {}, "Helm"),
        ({"app.kubernetes.io/managed-by": "kubectl"}, {"meta.example/x": "Helm"}, ""),
        ({"app.kubernetes.io/instance": "mnist"}, {}, "Argo CD"),
        ({"app.kubernetes.io/instance": "mnist", **BY_HELM}, {}, "Helm"),
        ({"app.kubernetes.io/instance": "x"}, {"meta.helm.sh/release-name": "x"}, "Helm"),
        ({"app.kubernetes.io/instance": "x", **BY_HELM}, TRACKED, "Argo CD"),
        ({"app.kubernetes.io/name": "mnist"}, {}, ""),
    ],
)
def test_a_gitops_tool_is_detected_by_its_labels_and_annotations(
    labels: dict[str, str], annotations: dict[str, str], owner: str
) -> None:
    assert gitops_owner(labels, annotations) == owner


@pytest.mark.parametrize(
    ("label", "labels", "owner"),
    [
        ("example.com/app", {"example.com/app": "x"}, "Argo CD"),
        ("example.com/app", {"app.kubernetes.io/instance": "x"}, ""),
        ("", {"app.kubernetes.io/instance": "x"}, ""),
        ("", {"argocd.argoproj.io/instance": "x"}, "Argo CD"),
    ],
)
def test_the_argo_cd_label_can_be_configured(
    label: str, labels: dict[str, str], owner: str
) -> None:
    token = instance_label.set(label)
    try:
        assert gitops_owner(labels, {}) == owner
    finally:
        instance_label.reset(token)


@pytest.mark.parametrize(
    ("annotations", "keep"),
    [
        ({}, False),
        ({"trainingjob.dev/keep": ""}, True),
        ({"trainingjob.dev/keep": "false"}, False),
    ],
)
def test_the_keep_annotation_pins_a_job(annotations: dict[str, str], keep: bool) -> None:
    raw = make_job(ttlSecondsAfterFinished=5)
    raw["metadata"] |= {"annotations": annotations, "labels": None}
    view = job_view(raw)
    assert (view.keep, view.spec.ttl_s, view.gitops_owner) == (keep, 5, "")


_TTL = st.none() | st.integers(0, 2**31 - 1)
_RULES = st.builds(Rules, ttl_s=_TTL, complete_s=_TTL, failed_s=_TTL, cancelled_s=_TTL)
_JOBS = st.builds(
    ended,
    st.sampled_from(OUTCOMES),
    ago_s=st.integers(-(10**5), 2**31),
    state=st.sampled_from(["Pending", "Stored", "Rejected", "NotRequired", None]),
    keep=st.booleans(),
    deleting=st.booleans(),
    discard_record=st.booleans(),
    gitops_owner=st.sampled_from(["", "Helm"]),
    finalizers=st.sampled_from([(), (FINALIZER_RECORD,), ("example.com/other",)]),
    ttl_s=_TTL,
)


@given(job=_JOBS, own=_RULES, default=_RULES, settings_ttl=st.floats(0, 2**31))
def test_only_a_job_with_a_stored_record_and_no_hold_ever_expires(
    job: JobView, own: Rules, default: Rules, settings_ttl: float
) -> None:
    rules = Inherited(own=own, default=default, settings_ttl_s=settings_ttl)
    verdict = judge(job, rules, now=NOW)
    assert verdict.due_at is not None
    assert job.status.completion_time is not None
    assert verdict.due_at >= job.status.completion_time
    if not verdict.expired:
        return
    assert job.status.completion_time <= NOW
    assert (job.keep, job.deleting) == (False, False)
    assert FINALIZER_RECORD not in job.finalizers
    assert job.status.record_state != "Pending"
    assert job.status.record_state != "Rejected" or job.discard_record
    assert not job.gitops_owner or job.spec.ttl_s is not None


@given(job=_JOBS, own=_RULES, default=_RULES, wait_s=st.integers(0, 2**32))
def test_expired_jobs_stay_expired_and_held_jobs_stay_held(
    job: JobView, own: Rules, default: Rules, wait_s: int
) -> None:
    rules = Inherited(own=own, default=default)
    now, later = (judge(job, rules, now=NOW + timedelta(seconds=s)) for s in (0, wait_s))
    assert later.expired >= now.expired
    assert (now.due_at, now.held_by, now.rule) == (later.due_at, later.held_by, later.rule)


def test_a_job_with_pending_logs_is_kept_until_they_are_archived_or_given_up() -> None:
    job = ended(ago_s=3600)
    waits = replace(
        job,
        status=replace(
            job.status,
            conditions=(
                *job.status.conditions,
                make_condition("LogsArchived", status=False, reason="Pending"),
            ),
        ),
    )
    verdict = judge(waits, HOUR, now=NOW)
    assert (verdict.expired, verdict.held_by) == (False, LOGS_PENDING)
    given_up = make_condition("LogsArchived", status=False, reason="VolumeUnavailable")
    conditions = (*job.status.conditions, given_up)
    settled = replace(job, status=replace(job.status, conditions=conditions))
    assert judge(settled, HOUR, now=NOW).expired
