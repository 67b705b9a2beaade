"""Disruptions: all ranks restart, without counting towards `backoffLimit`."""

import pytest

from tests.support.views import (
    at,
    decide,
    deleted_names,
    deleting,
    disrupted,
    failed,
    make_pod,
    make_status,
    make_view,
    pending,
    succeeded,
)
from trainingjob_api.constants import (
    CONDITION_RESTARTING,
    REASON_EVICTED,
    REASON_NODE_LOST,
    REASON_POD_LOST,
)
from trainingjob_operator.core.pod import PodView

LAUNCHED = make_status(launched_attempt=0)


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        pytest.param(deleting(make_pod()), REASON_POD_LOST, "was deleted", id="deleted by hand"),
        pytest.param(deleting(pending()), REASON_POD_LOST, "was deleted", id="deleted pending"),
        pytest.param(
            disrupted(make_pod()),
            REASON_EVICTED,
            "was disrupted (EvictionByEvictionAPI)",
            id="drained",
        ),
        pytest.param(
            disrupted(failed(), "PreemptionByScheduler"),
            REASON_EVICTED,
            "was disrupted (PreemptionByScheduler)",
            id="preempted and failed of it",
        ),
        pytest.param(
            deleting(disrupted(make_pod(), "DeletionByTaintManager")),
            REASON_NODE_LOST,
            "was disrupted (DeletionByTaintManager)",
            id="its node was tainted",
        ),
        pytest.param(
            disrupted(failed(), "NodeLost"),
            REASON_NODE_LOST,
            "was disrupted (NodeLost)",
            id="its node was lost",
        ),
        pytest.param(
            deleting(succeeded(), since_s=-20),
            REASON_POD_LOST,
            "was deleted",
            id="it trapped SIGTERM and exited 0",
        ),
    ],
)
def test_a_disrupted_rank_restarts_all_ranks_without_counting_towards_backoff_limit(
    pod: PodView, reason: str, words: str
) -> None:
    job = make_view(LAUNCHED, nodes=2, backoff_limit=0)

    decided = decide(job, pod, make_pod(1))

    restarting = decided.status.condition(CONDITION_RESTARTING)
    assert restarting is not None
    assert restarting.status
    assert restarting.reason == reason
    assert words in restarting.message
    assert (decided.status.attempt, decided.status.restarts, decided.status.disruptions) == (
        1,
        0,
        1,
    )
    assert make_pod(1).name in deleted_names(decided)
    assert decided.create == ()


def test_a_pod_that_is_being_deleted_is_not_deleted_again() -> None:
    decided = decide(make_view(LAUNCHED, nodes=2), deleting(make_pod(0)), make_pod(1))

    assert deleted_names(decided) == {make_pod(1).name}


def test_the_reason_is_the_disrupted_pod_and_not_the_peer_that_failed_because_of_it() -> None:
    pods = (failed(0, code=1, finished_at=at(-8)), disrupted(make_pod(1)))

    restarting = decide(make_view(LAUNCHED, nodes=2), *pods).status.condition(CONDITION_RESTARTING)

    assert restarting is not None
    assert restarting.reason == REASON_EVICTED
    assert "rank 1" in restarting.message


def test_the_disruption_of_a_completed_rank_has_no_effect() -> None:
    status = make_status(launched_attempt=0, completed_indexes="0")

    decided = decide(make_view(status, nodes=2), deleting(succeeded(0), since_s=-20), make_pod(1))

    assert decided.status.attempt == 0
    assert decided.delete == ()


# --- lost ranks ------------------------------------------------------------------------------


def test_a_rank_missing_from_a_launched_attempt_causes_a_live_read_first() -> None:
    job = make_view(LAUNCHED, nodes=2)

    decided = decide(job, make_pod(0))

    assert decided.needs_live_pods
    assert decided.status == job.status
    assert (decided.create, decided.delete, decided.events) == ((), (), ())


def test_a_rank_that_a_live_read_does_not_find_is_lost() -> None:
    decided = decide(make_view(LAUNCHED, nodes=3), make_pod(0), pods_are_live=True)

    restarting = decided.status.condition(CONDITION_RESTARTING)
    assert restarting is not None
    assert restarting.reason == REASON_POD_LOST
    assert "rank 1-2" in restarting.message
    assert (decided.status.attempt, decided.status.disruptions) == (1, 1)
    assert deleted_names(decided) == {make_pod(0).name}


def test_a_rank_missing_from_an_attempt_that_is_not_launched_is_simply_created() -> None:
    decided = decide(make_view(nodes=3), make_pod(1))

    assert decided.create == (0, 2)
    assert decided.status.attempt == 0


def test_a_rank_whose_pod_was_seen_to_disappear_is_lost_even_before_the_launch() -> None:
    decided = decide(make_view(nodes=3), make_pod(1), vanished=frozenset({0}), pods_are_live=True)

    assert decided.create == ()
    assert (decided.status.attempt, decided.status.disruptions) == (1, 1)


def test_a_rank_whose_pod_reappeared_is_not_lost() -> None:
    decided = decide(make_view(LAUNCHED), make_pod(0), vanished=frozenset({0}))

    assert not decided.needs_live_pods
    assert decided.status.attempt == 0


def test_if_all_ranks_are_lost_the_next_pass_is_due_at_once() -> None:
    decided = decide(make_view(LAUNCHED, nodes=2), pods_are_live=True)

    assert decided.status.attempt == 1
    assert decided.requeue_at == at(0)


@pytest.mark.parametrize(
    "index", [pytest.param(2, id="a rank too many"), pytest.param(-1, id="a rank below 0")]
)
def test_a_pod_whose_rank_is_out_of_range_is_deleted(index: int) -> None:
    stray = make_pod(index, name="stray")

    decided = decide(make_view(LAUNCHED, nodes=2), make_pod(0), make_pod(1), stray)

    assert deleted_names(decided) == {"stray"}
    assert decided.status.attempt == 0
