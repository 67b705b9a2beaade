"""What a pod's words become: short, on one line, whoever wrote them."""

from typing import Any

import pytest

from trainingjob_operator.constants import MAX_MESSAGE_BYTES
from trainingjob_operator.core.observe_pod import pod_view
from trainingjob_operator.core.pod import PodView

HOSTILE = "Error\nforged: line\x1b[2J" + "x" * 100_000


def view(phase: str, **status: Any) -> PodView:
    pod = pod_view(
        {
            "metadata": {
                "namespace": "ml",
                "name": "mnist-0-0",
                "uid": "p1",
                "resourceVersion": "1",
                "labels": {
                    "trainingjob.dev/job-name": "mnist",
                    "trainingjob.dev/attempt": "0",
                    "trainingjob.dev/index": "0",
                },
                "ownerReferences": [{"kind": "TrainingJob", "controller": True, "uid": "u1"}],
            },
            "status": {"phase": phase, **status},
        }
    )
    assert pod is not None
    return pod


@pytest.mark.parametrize(
    "pod",
    [
        view("Failed", reason=HOSTILE, message=HOSTILE),
        view(
            "Failed",
            containerStatuses=[
                {
                    "name": "trainer",
                    "state": {
                        "terminated": {"exitCode": 1, "reason": HOSTILE, "message": HOSTILE}
                    },
                }
            ],
        ),
        view(
            "Pending",
            containerStatuses=[
                {"name": "c", "state": {"waiting": {"reason": HOSTILE, "message": HOSTILE}}}
            ],
        ),
        view(
            "Failed",
            conditions=[{"type": "DisruptionTarget", "status": "True", "reason": HOSTILE}],
        ),
        view(
            "Pending",
            conditions=[
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": HOSTILE,
                }
            ],
        ),
    ],
    ids=["pod", "container", "waiting", "disruption", "scheduler"],
)
def test_no_text_of_a_pod_is_long_or_breaks_a_line(pod: PodView) -> None:
    reasons = [pod.reason, pod.waiting_reason, pod.disruption]
    messages = [pod.message, pod.waiting_message, pod.unschedulable]
    assert any(reasons + messages)
    assert all(text.isprintable() for text in reasons + messages)
    assert all(len(text) <= 128 for text in reasons)
    assert all(len(text.encode()) <= MAX_MESSAGE_BYTES for text in messages)
