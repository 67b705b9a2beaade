"""Ended pods that are only kept by finalizers do not block anything."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.builders import make_job
from tests.support.views import (
    UID,
    at,
    decide,
    deleting,
    failed,
    make_condition,
    make_pod,
    make_status,
    make_view,
    pending,
)
from trainingjob_api.constants import CONDITION_PODS_READY, CONDITION_RESTARTING
from trainingjob_api.validation import parse_spec
from trainingjob_operator.core.decision import Plan
from trainingjob_operator.core.manifests import pod_manifest
from trainingjob_operator.core.observe_pod import pod_view
from trainingjob_operator.core.pod import PodView

KEEPER = "example.com/keeper"
ENDED = {"terminated": {"exitCode": 143, "finishedAt": "2026-01-01T00:00:00Z"}}
RUNS: dict[str, Any] = {"running": {}}
RESTARTED = make_status(
    make_condition(CONDITION_RESTARTING), attempt=1, launched_attempt=0, disruptions=1
)


def kept(index: int = 0, attempt: int = 0, **fields: Any) -> PodView:
    pod = deleting(failed(index, 143, attempt=attempt, **fields))
    return replace(pod, held_by=KEEPER)


def held_by(
    *states: dict[str, Any],
    phase: str = "Running",
    node: str = "node-1",
    finalizers: tuple[str, ...] = (KEEPER,),
    going: bool = True,
    beside: dict[str, Any] | None = None,
) -> str:
    """Read a pod of one container for each state; `beside` is the state of an init container."""
    raw = pod_manifest(make_view(), parse_spec(make_job()["spec"]), 0)
    raw["metadata"] |= {"uid": "p1", "resourceVersion": "1", "finalizers": list(finalizers)}
    raw["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z"} if going else {}
    raw["spec"] |= {"nodeName": node} if node else {}
    raw["status"] = {
        "phase": phase,
        "containerStatuses": [{"name": "trainer", "state": state} for state in states],
        "initContainerStatuses": [{"name": "i", "state": beside}] if beside else [],
    }
    view = pod_view(raw)
    assert view is not None
    return view.held_by


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(held_by(ENDED, phase="Failed"), KEEPER, id="its phase is final"),
        pytest.param(held_by(ENDED), KEEPER, id="its containers have ended"),
        pytest.param(held_by(ENDED, beside=ENDED), KEEPER, id="and its init containers"),
        pytest.param(held_by(phase="Pending", node=""), KEEPER, id="it is on no node"),
        pytest.param(
            held_by(phase="Failed", finalizers=("a/b", "c/d")), "a/b, c/d", id="all are named"
        ),
        pytest.param(held_by(RUNS), "", id="a container runs"),
        pytest.param(held_by(ENDED, beside=RUNS), "", id="an init container runs beside it"),
        pytest.param(held_by(phase="Pending"), "", id="its node has said nothing yet"),
        pytest.param(held_by(ENDED, phase="Failed", going=False), "", id="nobody deletes it"),
        pytest.param(held_by(ENDED, phase="Failed", finalizers=()), "", id="nothing keeps it"),
    ],
)
def test_a_pod_counts_as_kept_if_only_finalizers_block_its_deletion(
    found: str, expected: str
) -> None:
    assert found == expected


def test_a_long_list_of_finalizers_is_truncated() -> None:
    many = tuple(f"example.com/keeper-{number}" for number in range(1000))

    assert len(held_by(phase="Failed", finalizers=many).encode()) <= 128


def said(decided: Plan) -> str:
    ready = decided.status.condition(CONDITION_PODS_READY)
    assert ready is not None
    return ready.message


@pytest.mark.parametrize("pods", [(kept(),), (kept(0), kept(1))], ids=["one", "all"])
def test_the_next_attempt_starts_despite_kept_pods_and_names_them(
    pods: tuple[PodView, ...],
) -> None:
    decided = decide(make_view(RESTARTED, nodes=2), *pods)

    assert decided.create == (0, 1)
    assert decided.delete == ()
    assert pods[0].name in said(decided)
    assert KEEPER in said(decided)

    running = decide(
        make_view(RESTARTED, nodes=2), *pods, make_pod(0, attempt=1), make_pod(1, attempt=1)
    )
    assert running.status.is_true(CONDITION_PODS_READY)
    assert KEEPER in said(running)
    assert running.status.active == 2
    assert running.status.terminating == 0


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(deleting(make_pod()), id="one that still ends"),
        pytest.param(failed(), id="one whose deletion waits for its log"),
        pytest.param(deleting(pending()), id="one that may be starting"),
    ],
)
def test_the_next_attempt_waits_for_pods_that_may_run_or_are_to_be_deleted(pod: PodView) -> None:
    decided = decide(make_view(RESTARTED, nodes=2), pod, kept(1))

    assert decided.create == ()
    assert "not been removed" in said(decided)
    assert kept(1).name in said(decided)


def test_the_next_attempt_waits_if_too_many_pods_are_kept() -> None:
    status = replace(RESTARTED, attempt=30, launched_attempt=29)
    pods = [kept(attempt=attempt) for attempt in range(19)]

    assert decide(make_view(status), *pods[:18]).create == (0,)
    assert decide(make_view(status), *pods).create == ()


def test_after_an_attempt_that_ends_with_kept_pods_only_the_next_pass_needs_no_event() -> None:
    status = make_status(launched_attempt=0)

    decided = decide(make_view(status), kept())

    assert decided.status.attempt == 1
    assert decided.requeue_at == at(0)


def test_a_kept_pod_blocks_neither_shutdown_nor_suspension() -> None:
    never_bound = replace(deleting(pending()), held_by=KEEPER)
    assert never_bound.owner_uid == UID

    stopped = decide(make_view(make_status(), shutdown="Stop"), never_bound)
    suspended = decide(make_view(make_status(), suspend=True), never_bound)

    assert stopped.status.phase == "Cancelled"
    assert suspended.status.phase == "Suspended"
    assert (suspended.status.active, suspended.status.terminating) == (0, 0)
