"""Conversion of raw pods: main container, exit, disruption, waiting reason; all texts safe and short."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.builders import make_job
from tests.support.views import UID, decide, make_status, make_view
from trainingjob_api.constants import MAX_MESSAGE_BYTES
from trainingjob_api.validation import parse_spec
from trainingjob_operator.core.failure_policy import Verdict, judge
from trainingjob_operator.core.job import FailurePolicyRule
from trainingjob_operator.core.manifests import pod_manifest
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
            "spec": {"containers": [{"name": "proxy"}, {"name": "trainer"}]},
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
def test_every_text_of_a_pod_is_truncated_and_on_one_line(pod: PodView) -> None:
    reasons = [pod.reason, pod.waiting_reason, pod.disruption]
    messages = [pod.message, pod.waiting_message, pod.unschedulable]
    assert any(reasons + messages)
    assert all(text.isprintable() for text in reasons + messages)
    assert all(len(text) <= 128 for text in reasons)
    assert all(len(text.encode()) <= MAX_MESSAGE_BYTES for text in messages)


# --- the main container ---------------------------------------------------------------------------


def ended(name: str, code: int, **fields: Any) -> dict[str, Any]:
    return {"name": name, "state": {"terminated": {"exitCode": code, **fields}}}


def admitted(
    name: str, *injected: str, remembers: bool = True, **status: Any
) -> tuple[PodView, dict[str, Any]]:
    """A pod whose template has one container of this name, with others inserted first by admission."""
    template = {"spec": {"containers": [{"name": name, "image": "example/mnist:1.0"}]}}
    job = make_job(template=template)
    pod = pod_manifest(make_view(), parse_spec(job["spec"]), 0)
    if not remembers:
        del pod["metadata"]["annotations"]["trainingjob.dev/main-container"]
    pod["metadata"] |= {"uid": "p1", "resourceVersion": "1"}
    pod["spec"]["containers"][:0] = [{"name": other, "image": "proxy"} for other in injected]
    pod["status"] = status
    view = pod_view(pod)
    assert view is not None
    return view, pod


@pytest.mark.parametrize("name", ["main", "trainer"])
def test_a_container_that_admission_inserts_first_is_not_the_main_one(name: str) -> None:
    statuses = [ended("proxy", 7, reason="Error"), ended(name, 3, reason="OOMKilled")]
    pod, _ = admitted(name, "proxy", phase="Failed", containerStatuses=statuses)
    assert pod.container == name
    assert (pod.exit_code, pod.reason) == (3, "OOMKilled")
    rule = FailurePolicyRule(
        action="FailJob", container=name, operator="In", values=frozenset({3})
    )
    assert judge(pod, [rule]) == (Verdict.FAIL_JOB, 0)


def test_many_containers_that_admission_inserts_first_do_not_hide_the_main_container() -> None:
    crowd = [f"proxy-{number}" for number in range(40)]
    statuses = [*(ended(other, 1) for other in crowd), ended("main", 3)]
    pod, _ = admitted("main", *crowd, phase="Failed", containerStatuses=statuses)
    assert (pod.container, pod.exit_code) == ("main", 3)


def test_the_main_containers_waiting_reason_comes_first() -> None:
    statuses = [
        {"name": "proxy", "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
        {"name": "main", "state": {"waiting": {"reason": "ErrImagePull"}}},
    ]
    pod, _ = admitted("main", "proxy", phase="Pending", containerStatuses=statuses)
    assert pod.waiting_reason == "ErrImagePull"


@pytest.mark.parametrize(("name", "main"), [("trainer", "trainer"), ("main", "proxy")])
def test_without_the_annotation_the_main_container_is_found_by_its_name(
    name: str, main: str
) -> None:
    pod, _ = admitted(name, "proxy", remembers=False)
    assert pod.container == main


def test_an_annotation_with_an_unknown_container_is_ignored() -> None:
    _, raw = admitted("trainer", "proxy")
    raw["metadata"]["annotations"]["trainingjob.dev/main-container"] = "elsewhere"
    pod = pod_view(raw)
    assert pod is not None
    assert pod.container == "trainer"


# --- containers beside the main one ---------------------------------------------------------------


def test_a_failed_init_container_is_named_and_its_log_is_archived() -> None:
    pod = view(
        "Failed",
        initContainerStatuses=[
            ended("ready", 0),
            ended("fetch", 5, finishedAt="2026-01-01T00:00:00Z"),
        ],
        containerStatuses=[{"name": "trainer", "state": {"waiting": {}}}],
    )
    assert (pod.exit_code, pod.failed_in) == (5, "init container fetch")
    assert not pod.has_begun
    assert pod.failed_beside == ("fetch",)
    assert pod.has_log
    assert pod.finished_at is not None
    decided = decide(make_view(make_status(launched_attempt=0), backoff_limit=0), owned(pod))
    failed = decided.status.condition("Failed")
    assert failed is not None
    assert failed.message.startswith(
        "rank 0 (pod mnist-0-0): init container fetch exited with code 5"
    )


def owned(pod: PodView) -> PodView:
    return replace(pod, owner_uid=UID)


def test_a_container_that_failed_where_the_main_one_never_ran_is_named() -> None:
    statuses = [ended("proxy", 7, reason="Error"), {"name": "trainer", "state": {"waiting": {}}}]
    pod = view("Failed", containerStatuses=statuses)
    assert (pod.exit_code, pod.reason, pod.failed_in) == (7, "Error", "container proxy")


def test_code_reason_and_message_are_of_one_container() -> None:
    statuses = [
        ended("proxy", 1, reason="Error", message="connection lost"),
        ended("trainer", 137, reason="OOMKilled"),
    ]
    fetch = ended("fetch", 2, reason="Error", message="a retry")
    pod = view("Failed", initContainerStatuses=[fetch], containerStatuses=statuses)
    assert (pod.exit_code, pod.reason, pod.message) == (137, "OOMKilled", "")
    assert pod.failed_in == ""


def test_a_pod_that_its_node_ended_has_the_nodes_reason_and_no_exit_code() -> None:
    statuses = [ended("trainer", 137, reason="Error")]
    pod = view("Failed", reason="Evicted", message="disk full", containerStatuses=statuses)
    assert (pod.exit_code, pod.reason, pod.message) == (None, "Evicted", "disk full")
    assert [end.exit_code for end in pod.exits] == [137]  # podFailurePolicy sees all of them


def test_a_stopped_native_sidecar_does_not_hide_the_failed_init_container() -> None:
    _, raw = admitted("trainer", phase="Failed")
    raw["spec"]["initContainers"] = [
        {"name": "proxy", "restartPolicy": "Always"},
        {"name": "fetch"},
    ]
    raw["status"]["initContainerStatuses"] = [
        ended("proxy", 143, reason="Error"),
        ended("fetch", 5, reason="Error", message="no route"),
    ]
    pod = pod_view(raw)
    assert pod is not None
    assert (pod.exit_code, pod.failed_in) == (5, "init container fetch")
    assert pod.message == "no route"


def test_a_failed_main_container_decides_over_other_failed_containers() -> None:
    statuses = [ended("trainer", 3), ended("proxy", 7)]
    pod = view("Failed", containerStatuses=statuses)
    assert (pod.exit_code, pod.failed_in, pod.failed_beside) == (3, "", ("proxy",))


def test_exit_codes_of_other_containers_are_ignored_if_the_pod_succeeded() -> None:
    pod = view("Succeeded", initContainerStatuses=[ended("proxy", 143)])
    assert (pod.exit_code, pod.failed_in, pod.failed_beside) == (0, "", ())


# --- disruption and rejection ---------------------------------------------------------------------


def disruption_target(status: str = "True") -> dict[str, Any]:
    return {"type": "DisruptionTarget", "status": status, "reason": "TerminationByKubelet"}


@pytest.mark.parametrize("reason", ["Evicted", "NodeLost", "NodeShutdown", "Shutdown"])
def test_only_the_disruption_target_condition_counts_as_a_disruption(reason: str) -> None:
    died = [ended("trainer", 137)]
    own = view("Failed", reason=reason, message="over its limit", containerStatuses=died)
    taken = view("Failed", reason=reason, containerStatuses=died, conditions=[disruption_target()])
    withdrawn = view(
        "Failed", reason=reason, containerStatuses=died, conditions=[disruption_target("False")]
    )

    assert (own.is_disrupted, taken.is_disrupted, withdrawn.is_disrupted) == (False, True, False)
    job = make_view(make_status(launched_attempt=0), backoff_limit=1)
    status = decide(job, owned(own)).status
    assert (status.restarts, status.disruptions) == (1, 0)
    restarting = status.condition("Restarting")
    assert restarting is not None
    assert restarting.reason == "PodFailed"
    assert f"failed ({reason}: over its limit)" in restarting.message


@pytest.mark.parametrize(
    "reason", ["UnexpectedAdmissionError", "OutOfcpu", "OutOfmemory", "NodeAffinity", "Evicted"]
)
def test_a_pod_that_the_kubelet_rejects_counts_as_a_disruption(reason: str) -> None:
    waits = [{"name": "trainer", "state": {"waiting": {"reason": "ContainerCreating"}}}]
    for statuses in ([], waits):
        pod = view("Failed", reason=reason, message="no device", containerStatuses=statuses)
        assert pod.rejected
        assert not pod.has_log, "no container has written one"
        decided = decide(make_view(make_status(launched_attempt=0), backoff_limit=0), owned(pod))
        restarting = decided.status.condition("Restarting")
        assert restarting is not None
        assert restarting.reason == "PodRejected"
        assert f"was rejected by its node ({reason}: no device)" in restarting.message
        assert (decided.status.restarts, decided.status.disruptions) == (0, 1)


@pytest.mark.parametrize(
    "status",
    [
        pytest.param({"reason": "DeadlineExceeded"}, id="it waited until its own deadline"),
        pytest.param(
            {"reason": "Evicted", "initContainerStatuses": [ended("fetch", 0)]},
            id="an init container ran",
        ),
        pytest.param(
            {
                "reason": "Evicted",
                "containerStatuses": [
                    {"name": "proxy", "state": {"running": {}}},
                    {"name": "trainer", "state": {"waiting": {}}},
                ],
            },
            id="a side container ran",
        ),
        pytest.param({}, id="it says nothing of itself"),
    ],
)
def test_a_pod_that_may_have_failed_by_itself_is_not_rejected(status: dict[str, Any]) -> None:
    pod = view("Failed", **status)
    assert (pod.rejected, pod.is_disrupted) == (False, False)


# --- waiting reasons ----------------------------------------------------------------------------


def gated(*gates: Any) -> PodView:
    pod = pod_view(
        {
            "metadata": {
                "name": "mnist-0-0",
                "labels": {
                    "trainingjob.dev/job-name": "mnist",
                    "trainingjob.dev/attempt": "0",
                    "trainingjob.dev/index": "0",
                },
                "ownerReferences": [{"kind": "TrainingJob", "controller": True, "uid": "u1"}],
            },
            "spec": {"schedulingGates": [*gates], "nodeName": HOSTILE},
            "status": {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
                ]
            },
        }
    )
    assert pod is not None
    return pod


def test_a_gated_pod_names_its_scheduling_gates() -> None:
    pod = gated({"name": "example.com/quota"}, {"name": "example.com/topology"})

    assert pod.waiting_reason == "SchedulingGated"
    assert "gates example.com/quota, example.com/topology:" in pod.waiting_message


def test_names_of_gates_and_nodes_are_truncated_and_on_one_line() -> None:
    pod = gated({"name": HOSTILE}, {"name": 7}, "none")

    assert pod.waiting_message.isprintable()
    assert pod.node.isprintable()
    assert len(pod.node) <= 253
    assert len(pod.waiting_message.encode()) <= MAX_MESSAGE_BYTES


@pytest.mark.parametrize(("gates", "gated"), [([{"name": "a/b"}], True), ([], False)])
def test_a_pod_is_gated_as_long_as_its_spec_has_gates(gates: list[Any], *, gated: bool) -> None:
    raw = pod_manifest(make_view(), parse_spec(make_job()["spec"]), 0)
    raw["metadata"] |= {"uid": "p1", "resourceVersion": "1"}
    raw["spec"]["schedulingGates"] = gates
    said = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
    raw["status"] = {"phase": "Pending", "conditions": [said]}

    pod = pod_view(raw)

    assert pod is not None
    assert pod.gated is gated
