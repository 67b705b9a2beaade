"""The view of a job follows from the job and its pods."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.builders import make_job
from trainingjob_sandbox.run.view import (
    JobView,
    RankView,
    belongs_to,
    changes,
    main_container,
    main_state,
    parse_indexes,
    summary,
    view_job,
)

Object = dict[str, Any]
START = "2026-01-01T00:00:00Z"
END = "2026-01-01T00:00:09Z"


def job(*conditions: Object, nodes: int = 2, **status: Any) -> Object:
    made = make_job("digits", nodes=nodes)
    made["metadata"]["uid"] = "uid-1"
    made["status"] = {"conditions": list(conditions), **status}
    return made


def condition(kind: str, reason: str, message: str = "", status: str = "True") -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def pod(
    rank: int,
    state: Object | None = None,
    *,
    attempt: int = 0,
    phase: str = "Pending",
    uid: str = "uid-1",
    **metadata: Any,
) -> Object:
    statuses = [] if state is None else [{"name": "trainer", "state": state}]
    return {
        "metadata": {
            "name": f"digits-uid-{attempt}-{rank}",
            "labels": {
                "trainingjob.dev/job-uid": uid,
                "trainingjob.dev/attempt": str(attempt),
                "trainingjob.dev/index": str(rank),
            },
            **metadata,
        },
        "spec": {"containers": [{"name": "trainer"}]},
        "status": {"phase": phase, "startTime": START, "containerStatuses": statuses},
    }


def ended(code: int) -> Object:
    return {"terminated": {"exitCode": code, "finishedAt": END}}


def test_a_job_without_pods_waits_with_all_its_ranks() -> None:
    view = view_job(job(nodes=3), [])

    assert view == JobView("digits", ranks=tuple(RankView(rank) for rank in range(3)))


def test_ranks_are_shown_with_their_pods_phases_exit_codes_and_times() -> None:
    pods = [pod(1, ended(3), phase="Failed"), pod(0, {"running": {}}, phase="Running")]

    view = view_job(job(phase="Running"), pods)

    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert view.phase == "Running"
    assert view.ranks == (
        RankView(0, pod="digits-uid-0-0", phase="Running", started=start),
        RankView(
            1,
            pod="digits-uid-0-1",
            phase="Failed",
            exit_code=3,
            started=start,
            ended=datetime(2026, 1, 1, second=9, tzinfo=UTC),
        ),
    )


def test_only_the_latest_attempt_is_shown_even_before_the_status_knows_it() -> None:
    pods = [pod(0, ended(1)), pod(1), pod(0, attempt=1)]

    view = view_job(job(attempt=0), pods)

    assert view.attempt == 1
    assert [rank.pod for rank in view.ranks] == ["digits-uid-1-0", ""]


def test_a_rank_that_completed_in_an_earlier_attempt_has_succeeded() -> None:
    view = view_job(job(attempt=1, completedIndexes="0"), [pod(1, attempt=1)])

    assert [rank.phase for rank in view.ranks] == ["Succeeded", "Pending"]


def test_pods_of_a_namesake_are_left_out() -> None:
    assert view_job(job(nodes=1), [pod(0, uid="other")]).ranks == (RankView(0),)
    assert not belongs_to(pod(0, uid="other"), job())


def test_a_pod_that_is_being_deleted_is_terminating_until_it_has_ended() -> None:
    pods = [
        pod(0, {"running": {}}, phase="Running", deletionTimestamp=END),
        pod(1, ended(143), phase="Failed", deletionTimestamp=END),
    ]

    assert [rank.phase for rank in view_job(job(), pods).ranks] == ["Terminating", "Failed"]


@pytest.mark.parametrize("reason", ["Unschedulable", "ImagePull", "QuotaExceeded", "Queued"])
def test_the_reason_why_a_job_does_not_run_is_shown(reason: str) -> None:
    stuck = job(condition("PodsReady", reason, "0/1 nodes are available", "False"))

    assert view_job(stuck, []).troubles == (f"{reason}: 0/1 nodes are available",)


def test_ranks_that_are_still_starting_are_no_trouble() -> None:
    waiting = job(condition("PodsReady", "PodsNotReady", "not yet", "False"))
    creating = pod(0, {"waiting": {"reason": "ContainerCreating"}})

    assert view_job(waiting, [creating]).troubles == ()


def test_a_container_that_cannot_be_created_is_a_trouble_of_its_rank() -> None:
    reason = {"reason": "CreateContainerConfigError", "message": 'configmap "x" not found'}

    view = view_job(job(), [pod(1, {"waiting": reason})])

    assert view.ranks[1].phase == "CreateContainerConfigError"
    assert view.troubles == ('rank 1: CreateContainerConfigError: configmap "x" not found',)


def test_a_finished_job_has_an_outcome_and_no_troubles() -> None:
    failed = job(
        condition("PodsReady", "Unschedulable", "no room", "False"),
        condition("Complete", "CompletionsReached", status="False"),
        condition("Failed", "BackoffLimitExceeded", "rank 1 exited with 3"),
        phase="Failed",
        exitCode=3,
        restarts=1,
    )

    view = view_job(failed, [])

    assert (view.outcome, view.reason, view.message) == (
        "Failed",
        "BackoffLimitExceeded",
        "rank 1 exited with 3",
    )
    assert (view.exit_code, view.restarts, view.troubles) == (3, 1, ())


def test_the_main_container_is_the_trainer_or_the_only_one() -> None:
    both = pod(0) | {"spec": {"containers": [{"name": "sidecar"}, {"name": "trainer"}]}}

    assert main_container(both) == "trainer"
    assert main_container(pod(0) | {"spec": {"containers": [{"name": "only"}]}}) == "only"


def test_the_main_container_is_that_of_the_pods_annotation() -> None:
    injected = pod(0, annotations={"trainingjob.dev/main-container": "only"})
    injected["spec"]["containers"] = [{"name": "proxy"}, {"name": "only"}]

    assert main_container(injected) == "only"


def test_the_state_of_a_sidecar_is_not_the_ranks() -> None:
    two = pod(0)
    two["spec"]["containers"].append({"name": "sidecar"})
    two["status"]["containerStatuses"] = [{"name": "sidecar", "state": {"running": {}}}]

    assert main_state(two) == ("waiting", {})


@pytest.mark.parametrize(
    ("text", "want"),
    [("", set()), ("3", {3}), ("0,2-5,9", {0, 2, 3, 4, 5, 9})],
)
def test_completed_indexes_are_read_as_batch_v1_writes_them(text: str, want: set[int]) -> None:
    assert parse_indexes(text) == want


def test_changes_are_phases_attempts_troubles_and_exit_codes_each_once() -> None:
    first = JobView("digits", ranks=(RankView(0, pod="a"),), troubles=("Unschedulable: full",))
    second = JobView(
        "digits",
        phase="Running",
        ranks=(RankView(0, pod="a", phase="Failed", exit_code=7),),
        troubles=("Unschedulable: full", "PodFailed: again"),
    )
    third = JobView("digits", phase="Running", attempt=1, ranks=(RankView(0, pod="b"),))

    assert list(changes(first, first)) == []
    assert list(changes(first, second)) == [
        "Running",
        "PodFailed: again",
        "rank 0 ended with exit code 7",
    ]
    assert list(changes(second, third)) == ["attempt 1 starts"]


def test_the_summary_has_outcome_reason_and_duration() -> None:
    view = JobView(
        "digits",
        phase="Failed",
        attempt=2,
        outcome="Failed",
        reason="BackoffLimitExceeded",
        message="rank 1 exited with 3",
        exit_code=3,
    )

    assert summary(view, seconds=12.34) == [
        "digits Failed: BackoffLimitExceeded",
        "  rank 1 exited with 3",
        "  exit code 3, 3 attempts, 12.3 s",
    ]
