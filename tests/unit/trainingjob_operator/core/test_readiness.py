"""The condition `PodsReady`: the most helpful cause if ranks are not ready."""

import pytest

from tests.support.views import (
    NOW,
    decide,
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
    REASON_IMAGE_PULL,
    REASON_PODS_NOT_READY,
    REASON_PODS_READY,
    REASON_SCHEDULING_GATED,
    REASON_UNSCHEDULABLE,
)
from trainingjob_operator.core.pod import PodView

NO_NODE = "0/3 nodes are available"


@pytest.mark.parametrize(
    ("pods", "reason", "words"),
    [
        pytest.param(
            [make_pod(0), make_pod(1)],
            REASON_PODS_READY,
            "all 2 ranks",
            id="all run and are ready",
        ),
        pytest.param(
            [succeeded(0), make_pod(1)], REASON_PODS_READY, "all 2 ranks", id="or have completed"
        ),
        pytest.param(
            [make_pod(0), make_pod(1, ready=False)],
            REASON_PODS_NOT_READY,
            "",
            id="one is not ready",
        ),
        pytest.param([pending(0), make_pod(1)], REASON_PODS_NOT_READY, "", id="one is pending"),
        pytest.param(
            [make_pod(0), pending(1, unschedulable=NO_NODE)],
            REASON_UNSCHEDULABLE,
            f"rank 1: {NO_NODE}",
            id="one finds no node",
        ),
        pytest.param(
            [
                pending(0, waiting_reason="ImagePullBackOff"),
                pending(1, unschedulable=NO_NODE),
            ],
            REASON_UNSCHEDULABLE,
            NO_NODE,
            id="no node comes before no image",
        ),
        *(
            pytest.param(
                [make_pod(0), pending(1, waiting_reason=reason, waiting_message="not found")],
                REASON_IMAGE_PULL,
                f"rank 1: {reason}: not found",
                id=f"the image does not come: {reason}",
            )
            for reason in (
                "ErrImagePull",
                "ImagePullBackOff",
                "InvalidImageName",
                "ErrImageNeverPull",
            )
        ),
        pytest.param(
            [
                make_pod(0),
                pending(
                    1, gated=True, waiting_reason="SchedulingGated", waiting_message="gates a"
                ),
            ],
            REASON_SCHEDULING_GATED,
            "rank 1: SchedulingGated: gates a",
            id="somebody holds one with a gate",
        ),
        pytest.param(
            [make_pod(0), pending(1, waiting_reason="CreateContainerConfigError")],
            REASON_PODS_NOT_READY,
            "CreateContainerConfigError",
            id="a container waits for something else",
        ),
    ],
)
def test_readiness_names_the_obstacle(pods: list[PodView], reason: str, words: str) -> None:
    decided = decide(make_view(nodes=2), *pods)

    ready = decided.status.condition(CONDITION_PODS_READY)
    assert ready is not None
    assert ready.status is (reason == REASON_PODS_READY)
    assert ready.reason == reason
    assert words in ready.message


def test_an_image_that_cannot_be_pulled_leaves_the_job_pending() -> None:
    decided = decide(make_view(), pending(waiting_reason="ImagePullBackOff"))

    assert decided.status.phase == "Pending"
    assert not decided.status.is_finished
    assert decided.status.restarts == 0


def test_a_pod_that_is_being_deleted_is_not_ready() -> None:
    status = make_status(make_condition(CONDITION_PODS_READY), launched_attempt=0)

    decided = decide(make_view(status), deleting(make_pod()))

    assert decided.status.ready == 0
    ready = decided.status.condition(CONDITION_PODS_READY)
    assert ready is not None
    assert not ready.status
    assert ready.last_transition_time == NOW
