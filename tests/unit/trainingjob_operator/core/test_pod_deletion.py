"""`cleanPodPolicy`: the pods that are deleted when the job has finished."""

import pytest

from tests.support.views import (
    at,
    decide,
    deleted_names,
    deleting,
    failed,
    make_pod,
    make_status,
    make_view,
    pending,
    succeeded,
)
from trainingjob_operator.core.job import FailurePolicyRule

FAILS_THE_JOB = (FailurePolicyRule(action="FailJob", operator="In", values=frozenset({42})),)


@pytest.mark.parametrize(
    ("policy", "gone"),
    [
        pytest.param("All", {0, 1, 2, 3}, id="All takes every pod"),
        pytest.param("Running", {2, 3}, id="Running takes what has not ended"),
        pytest.param("None", set(), id="None takes no pod"),
    ],
)
def test_clean_pod_policy_selects_the_pods_of_a_finished_job_to_delete(
    policy: str, gone: set[int]
) -> None:
    job = make_view(
        make_status(launched_attempt=0),
        nodes=4,
        clean_pod_policy=policy,
        failure_rules=FAILS_THE_JOB,
    )
    pods = (failed(0, code=42), succeeded(1), make_pod(2), pending(3))

    ending = decide(job, *pods)
    assert ending.status.is_finished
    assert deleted_names(ending) == {make_pod(index).name for index in gone}

    # A crash before the deletions changes nothing: status says what is to go.
    after = decide(make_view(ending.status, nodes=4, clean_pod_policy=policy), *pods)
    assert deleted_names(after) == deleted_names(ending)


@pytest.mark.parametrize("policy", ["All", "Running", "None"])
def test_pods_of_earlier_attempts_are_always_deleted(policy: str) -> None:
    status = make_status(launched_attempt=1, attempt=1, restarts=1)
    job = make_view(status, clean_pod_policy=policy)

    decided = decide(job, failed(attempt=0), succeeded(attempt=1))

    assert decided.status.is_finished
    assert failed(attempt=0).name in deleted_names(decided)


@pytest.mark.parametrize(
    "deadline",
    [
        pytest.param({"active_deadline_s": 1}, id="active"),
        pytest.param({"pre_running_deadline_s": 1, "backoff_limit": 0}, id="pre-running"),
    ],
)
def test_running_pods_are_deleted_after_a_deadline_under_every_policy(
    deadline: dict[str, int],
) -> None:
    long_ago = at(-100)
    status = make_status(launched_attempt=0, start_time=long_ago, attempt_start_time=long_ago)
    job = make_view(status, nodes=2, clean_pod_policy="None", **deadline)

    decided = decide(job, make_pod(0), pending(1))

    assert decided.status.is_finished
    assert len(decided.delete) == 2


def test_a_terminating_pod_is_not_deleted_again() -> None:
    job = make_view(make_status(launched_attempt=0), clean_pod_policy="All")

    decided = decide(job, deleting(succeeded()))

    assert decided.status.is_finished
    assert decided.delete == ()
