"""The phase and the counters: derived from conditions and pods, for people."""

import pytest

from tests.support.views import (
    decide,
    deleting,
    failed,
    make_condition,
    make_pod,
    make_shutdown,
    make_status,
    make_view,
    pending,
    succeeded,
)
from trainingjob_api.constants import (
    CONDITION_CANCELLED,
    CONDITION_COMPLETE,
    CONDITION_FAILED,
    CONDITION_RESTARTING,
    CONDITION_SUSPENDED,
)
from trainingjob_operator.core.job import JobStatus
from trainingjob_operator.core.pod import PodView
from trainingjob_operator.core.progress import derive_phase


@pytest.mark.parametrize(
    ("conditions", "stopping", "all_started", "phase"),
    [
        pytest.param([], False, False, "Pending", id="nothing yet"),
        pytest.param([], False, True, "Running", id="all ranks have started"),
        pytest.param([CONDITION_RESTARTING], False, True, "Restarting", id="restarting"),
        pytest.param(
            [CONDITION_RESTARTING, CONDITION_SUSPENDED], False, True, "Suspended", id="suspended"
        ),
        pytest.param([CONDITION_SUSPENDED], True, True, "Stopping", id="stopping"),
        pytest.param([CONDITION_COMPLETE], True, False, "Succeeded", id="complete"),
        pytest.param([CONDITION_FAILED], True, False, "Failed", id="failed"),
        pytest.param([CONDITION_CANCELLED], True, False, "Cancelled", id="cancelled"),
    ],
)
def test_the_phase_follows_from_the_conditions(
    conditions: list[str],
    stopping: bool,
    all_started: bool,
    phase: str,
) -> None:
    status = make_status(*(make_condition(kind) for kind in conditions))

    assert derive_phase(status, stopping=stopping, all_started=all_started) == phase


def test_a_condition_that_is_false_gives_no_phase() -> None:
    status = make_status(make_condition(CONDITION_RESTARTING, status=False))

    assert derive_phase(status, stopping=False, all_started=True) == "Running"


@pytest.mark.parametrize(
    ("pods", "phase"),
    [
        pytest.param([make_pod(0)], "Pending", id="a rank is missing"),
        pytest.param([make_pod(0), pending(1)], "Pending", id="a rank is pending"),
        pytest.param(
            [make_pod(0), make_pod(1, ready=False)], "Running", id="every rank has started"
        ),
        pytest.param([succeeded(0), make_pod(1)], "Running", id="or is done"),
    ],
)
def test_a_job_runs_once_every_rank_has_started(pods: list[PodView], phase: str) -> None:
    assert decide(make_view(nodes=2), *pods).status.phase == phase


def test_counters_count_the_pods() -> None:
    status = make_status(launched_attempt=1, attempt=1, completed_indexes="3")
    pods = (
        make_pod(0, attempt=1),
        make_pod(1, attempt=1, ready=False),
        succeeded(2, attempt=1),
        deleting(make_pod(0, attempt=0)),
    )

    counted = decide(make_view(status, nodes=4), *pods).status

    assert (counted.active, counted.ready, counted.terminating) == (2, 1, 1)
    assert (counted.succeeded, counted.failed) == (2, 0)


def test_counters_of_ranks_are_reset_with_a_new_attempt() -> None:
    job = make_view(make_status(launched_attempt=0), nodes=3)

    counted = decide(job, failed(0), succeeded(1), make_pod(2)).status

    assert counted.attempt == 1
    assert (counted.ready, counted.succeeded, counted.failed) == (0, 0, 0)
    assert counted.active == 1


def test_every_decision_sets_the_observed_generation() -> None:
    for job in (make_view(generation=7), make_view(generation=7, suspend=True)):
        assert decide(job).status.observed_generation == 7


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        pytest.param(make_status(shutdown=make_shutdown()), "Stopping", id="shutdown"),
        pytest.param(make_status(), "Pending", id="none"),
    ],
)
def test_a_latched_shutdown_shows_in_the_phase(status: JobStatus, phase: str) -> None:
    assert decide(make_view(status), pending()).status.phase == phase
