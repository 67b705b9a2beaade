"""The main container decides the end of its rank, whatever other containers do."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.views import (
    UID,
    at,
    decide,
    deleted_names,
    deleting,
    failed,
    make_pod,
    make_status,
    make_view,
    succeeded,
)
from trainingjob_operator.core.archiving import can_be_read_early
from trainingjob_operator.core.decision import DecisionSettings, LogOutcome
from trainingjob_operator.core.observe_pod import pod_view
from trainingjob_operator.core.pod import PodPhase, PodView

LAUNCHED = make_status(launched_attempt=0)
ENDED_AT = "2026-01-01T00:00:00Z"
RUNS: dict[str, Any] = {"running": {"startedAt": "2025-12-31T23:00:00Z"}}
BESIDE = ("proxy",)


def exited(code: int, **fields: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "finishedAt": ENDED_AT, **fields}}


def seen(
    phase: str,
    *,
    trainer: dict[str, Any],
    proxy: dict[str, Any] | None = None,
    native: dict[str, Any] | None = None,
    spec: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    **status: Any,
) -> PodView:
    """A pod with a side container, and maybe a native sidecar, in these states."""
    containers = [{"name": "trainer", **(spec or {})}, {"name": "proxy"}]
    raw: dict[str, Any] = {
        "metadata": {
            "namespace": "ml",
            "name": make_pod().name,
            "uid": make_pod().uid,
            "resourceVersion": "1",
            "labels": {
                "trainingjob.dev/job-name": "mnist",
                "trainingjob.dev/attempt": "0",
                "trainingjob.dev/index": "0",
            },
            "ownerReferences": [{"kind": "TrainingJob", "controller": True, "uid": UID}],
            **(metadata or {}),
        },
        "spec": {
            "containers": containers if proxy is not None else containers[:1],
            "initContainers": [{"name": "istio", "restartPolicy": "Always"}] if native else [],
        },
        "status": {
            "phase": phase,
            "containerStatuses": [{"name": "trainer", "state": trainer}],
            **status,
        },
    }
    if proxy is not None:
        raw["status"]["containerStatuses"].append({"name": "proxy", "state": proxy})
    if native:
        raw["status"]["initContainerStatuses"] = [{"name": "istio", "state": native}]
    pod = pod_view(raw)
    assert pod is not None
    return pod


def done(index: int = 0, **fields: Any) -> PodView:
    """A pod whose trainer exited with 0 ten seconds ago, beside a proxy that runs on."""
    defaults: dict[str, Any] = {
        "exit_code": 0,
        "finished_at": at(-10),
        "side_containers": BESIDE,
    }
    return make_pod(index, ready=False, **defaults | fields)


# --- what is seen of a pod ------------------------------------------------------------------------


def test_a_trainer_that_exited_with_0_has_completed_while_a_side_container_runs() -> None:
    pod = seen("Running", trainer=exited(0), proxy=RUNS)

    assert (pod.has_completed, pod.exit_code, pod.side_containers) == (True, 0, ("proxy",))
    assert pod.finished_at is not None
    assert pod.needs_a_stop
    assert can_be_read_early(pod)


def test_a_trainer_that_failed_has_failed_while_a_side_container_runs() -> None:
    pod = seen("Running", trainer=exited(3, reason="Error", message="nan"), proxy=RUNS)

    assert (pod.has_failed, pod.exit_code, pod.reason, pod.message) == (True, 3, "Error", "nan")
    assert [(end.container, end.exit_code) for end in pod.exits] == [("trainer", 3)]


def test_the_exit_code_of_a_side_container_is_ignored() -> None:
    pod = seen("Failed", trainer=exited(0), proxy=exited(143, reason="Error"))

    assert pod.has_completed
    assert (pod.has_failed, pod.exit_code, pod.reason, pod.failed_in) == (False, 0, "", "")


def test_the_end_of_a_side_container_alone_ends_no_rank() -> None:
    pod = seen("Running", trainer=RUNS, proxy=exited(1))

    assert (pod.has_ended, pod.exit_code, pod.exits) == (False, None, ())


def test_a_side_container_that_never_started_counts_as_not_ended() -> None:
    waits = {"waiting": {"reason": "ImagePullBackOff"}}
    pod = seen("Running", trainer=exited(0), proxy=waits)

    assert (pod.has_completed, pod.side_containers) == (True, ("proxy",))


@pytest.mark.parametrize("trainer", [RUNS, exited(0)])
def test_a_trainer_has_a_log_while_its_pod_is_pending_for_a_side_container(
    trainer: dict[str, Any],
) -> None:
    creating = {"waiting": {"reason": "ContainerCreating"}}

    assert seen("Pending", trainer=trainer, proxy=creating).has_log
    assert not seen("Pending", trainer=creating, proxy=RUNS).has_log


def test_native_sidecars_are_left_to_the_kubelet() -> None:
    pod = seen("Running", trainer=exited(0), native=RUNS)

    assert pod.has_completed
    assert (pod.side_containers, pod.needs_a_stop) == ((), False)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"restartPolicy": "Always"}, id="a policy of its own"),
        pytest.param(
            {"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart"}]}, id="rules"
        ),
    ],
)
def test_a_main_container_that_may_be_restarted_ends_only_with_its_pod(
    spec: dict[str, Any],
) -> None:
    assert not seen("Running", trainer=exited(0), proxy=RUNS, spec=spec).has_ended
    assert seen("Succeeded", trainer=exited(0), proxy=exited(0), spec=spec).has_completed


@pytest.mark.parametrize("reason", ["Evicted", "DeadlineExceeded", "Terminated"])
def test_exit_code_0_is_no_success_if_the_node_ended_the_pod(reason: str) -> None:
    ending = seen("Running", trainer=exited(0), proxy=RUNS, reason=reason)
    ended = seen("Failed", trainer=exited(0), proxy=exited(137), reason=reason, message="why")

    assert not ending.has_ended
    assert (ended.has_completed, ended.has_failed) == (False, True)
    assert (ended.exit_code, ended.reason, ended.message) == (None, reason, "why")


def test_a_rank_that_ended_after_a_stop_request_has_not_completed() -> None:
    late = {"deletionTimestamp": "2026-01-01T00:00:20Z", "deletionGracePeriodSeconds": 30}
    soon = {"deletionTimestamp": "2026-01-01T00:00:35Z", "deletionGracePeriodSeconds": 30}

    # Asked ten seconds before the trainer's end, and five seconds after it.
    assert not seen("Running", trainer=exited(0), proxy=RUNS, metadata=late).has_completed
    assert seen("Running", trainer=exited(0), proxy=RUNS, metadata=soon).has_completed


# --- what is decided ------------------------------------------------------------------------------


@pytest.mark.parametrize("clean", ["All", "Running", "None"])
def test_a_job_completes_with_its_main_container_and_stops_side_containers(clean: str) -> None:
    decided = decide(make_view(LAUNCHED, clean_pod_policy=clean), done())

    complete = decided.status.condition("Complete")
    assert complete is not None
    assert complete.status
    assert "container proxy of its pod" in complete.message
    assert "is being stopped" in complete.message
    assert (decided.status.exit_code, decided.status.succeeded, decided.status.failed) == (0, 1, 0)
    [victim] = decided.delete
    assert (victim.uid, victim.grace_s) == (done().uid, None)  # the pod's own grace period
    # A crash before the deletion changes nothing: status says what is to go.
    again = decide(make_view(decided.status, clean_pod_policy=clean), done())
    assert again.delete == decided.delete


def test_a_completed_rank_is_written_to_status_and_stopped_while_others_run() -> None:
    job = make_view(LAUNCHED, nodes=2)

    decided = decide(job, done(0), make_pod(1))

    assert (decided.status.completed_indexes, decided.status.attempt) == ("0", 0)
    assert (decided.status.succeeded, decided.status.ready, decided.status.failed) == (1, 1, 0)
    assert deleted_names(decided) == {done(0).name}
    ready = decided.status.condition("PodsReady")
    assert ready is not None
    assert ready.status
    assert "rank 0 has completed, and container proxy of its pod" in ready.message
    # From then on nothing that befalls its pod is news.
    job = make_view(decided.status, nodes=2)
    stopping = deleting(done(0), since_s=-10)
    ended = failed(0, code=143, deleting=True, stop_requested_at=at(-10))
    for pods in ((stopping, make_pod(1)), (ended, make_pod(1)), (make_pod(1),)):
        later = decide(job, *pods, pods_are_live=True, vanished=frozenset({0}))
        assert (later.status.completed_indexes, later.status.attempt) == ("0", 0)
        assert (later.status.failed, later.create, later.delete) == (0, (), ())


def test_a_completed_rank_is_stopped_after_its_log_is_archived() -> None:
    policy = DecisionSettings(archiving=True)
    job = make_view(LAUNCHED, nodes=2)

    first = decide(job, done(0), make_pod(1), policy=policy)
    assert [pod.name for pod in first.archive] == [done(0).name]
    assert (first.status.completed_indexes, first.delete) == ("0", ())

    logs = {done(0).uid: LogOutcome(attempt=0, rank=0, size=100)}
    job = make_view(first.status, nodes=2)
    then = decide(job, done(0), make_pod(1), policy=policy, logs=logs)
    assert deleted_names(then) == {done(0).name}


def test_a_pod_with_only_native_sidecars_left_is_not_deleted() -> None:
    ending = replace(done(), side_containers=())

    decided = decide(make_view(LAUNCHED), ending)

    assert decided.status.is_true("Complete")
    assert decided.delete == ()
    complete = decided.status.condition("Complete")
    assert complete is not None
    assert complete.message == "the rank completed"


def test_a_main_container_that_failed_restarts_all_ranks_at_once() -> None:
    job = make_view(LAUNCHED, nodes=2)

    decided = decide(job, replace(done(0), exit_code=7), make_pod(1))

    assert (decided.status.attempt, decided.status.restarts) == (1, 1)
    assert deleted_names(decided) == {done(0).name, make_pod(1).name}
    restarting = decided.status.condition("Restarting")
    assert restarting is not None
    assert "exited with code 7" in restarting.message


@pytest.mark.parametrize("clean", ["Running", "None"])
def test_a_failed_job_leaves_no_side_container_running(clean: str) -> None:
    job = make_view(LAUNCHED, backoff_limit=0, clean_pod_policy=clean)

    decided = decide(job, replace(done(), exit_code=7))

    assert decided.status.is_true("Failed")
    assert decided.status.exit_code == 7
    assert deleted_names(decided) == {done().name}


def test_a_completed_pod_without_side_containers_is_not_deleted() -> None:
    decided = decide(make_view(LAUNCHED, nodes=2), succeeded(0), make_pod(1))

    assert decided.delete == ()
    assert succeeded(0).phase is PodPhase.SUCCEEDED
