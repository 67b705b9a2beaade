"""Pod deletions wait for the archiving of logs, in bounded time; `LogsArchived` has the result."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.views import (
    UID,
    decide,
    deleted_names,
    deleting,
    failed,
    make_condition,
    make_pod,
    make_status,
    make_view,
    pending,
    succeeded,
)
from trainingjob_api.constants import FINALIZER_RECORD
from trainingjob_operator.core.archiving import can_be_read_early
from trainingjob_operator.core.decision import ArchiveSearch, DecisionSettings, LogOutcome, Plan
from trainingjob_operator.core.job import JobStatus, JobView
from trainingjob_operator.core.job_stage import awaits_release
from trainingjob_operator.core.pod import PodView

ON = DecisionSettings(archiving=True)
RECORDING = DecisionSettings(archiving=True, recording=True)
LAUNCHED = make_status(launched_attempt=0)


def archived(*pods: PodView, size: int = 100, **fields: Any) -> dict[str, LogOutcome]:
    return {
        pod.uid: LogOutcome(attempt=pod.attempt, rank=pod.index, size=size, **fields)
        for pod in pods
    }


def lost(*pods: PodView, why: str = "the node is dead", **fields: Any) -> dict[str, LogOutcome]:
    return archived(*pods, size=0, lost=why, **fields)


def answer(ranks: set[int], *, lost: str = "") -> dict[str, LogOutcome]:
    """Outcome of a search of the archive that found all of these ranks, or none."""
    searched_ranks = frozenset(ranks)
    outcome = LogOutcome(
        attempt=0,
        rank=min(ranks),
        lost=lost,
        searched_ranks=searched_ranks,
        ranks=searched_ranks if lost else frozenset(),
    )
    return {"archive_search": outcome}


def wanted(decided: Plan) -> set[str]:
    return {pod.name for pod in decided.archive}


def verdict(status: JobStatus) -> tuple[bool, str] | None:
    found = status.condition("LogsArchived")
    return (found.status, found.reason) if found is not None else None


def message(status: JobStatus) -> str:
    found = status.condition("LogsArchived")
    assert found is not None
    return found.message


def finished(*pods: PodView, **fields: Any) -> JobView:
    """A completed job with pending logs."""
    ending = decide(make_view(LAUNCHED, **fields), *pods, policy=ON)
    assert verdict(ending.status) == (False, "Pending")
    return make_view(ending.status, **fields)


# --- delaying deletions ---------------------------------------------------------------------------


def test_without_a_volume_no_deletion_waits_and_no_condition_is_set() -> None:
    decided = decide(make_view(LAUNCHED, clean_pod_policy="All"), succeeded())
    assert decided.archive == ()
    assert deleted_names(decided) == {succeeded().name}
    assert verdict(decided.status) is None
    assert decided.status.log_path is None


def test_an_attempt_that_is_torn_down_keeps_its_pods_until_their_logs_are_archived() -> None:
    pods = (failed(0), make_pod(1), pending(2))
    job = make_view(LAUNCHED, nodes=3)

    down = decide(job, *pods, policy=ON)
    assert down.status.attempt == 1
    assert wanted(down) == {failed(0).name, make_pod(1).name}
    assert deleted_names(down) == {pending(2).name}  # it has not begun: there is no log

    job = make_view(down.status, nodes=3)
    then = decide(job, *pods, policy=ON, logs=archived(failed(0)))
    assert wanted(then) == {make_pod(1).name}
    assert deleted_names(then) == {failed(0).name, pending(2).name}
    last = decide(job, *pods, policy=ON, logs=archived(failed(0), make_pod(1)))
    assert last.archive == ()
    assert len(last.delete) == 3


@pytest.mark.parametrize(
    "reason",
    [
        pytest.param({"suspend": True}, id="suspend"),
        pytest.param({"shutdown": "Stop"}, id="Stop"),
        pytest.param({"shutdown": "Terminate"}, id="Terminate"),
        pytest.param({"deleting": True}, id="delete"),
    ],
)
def test_a_running_pod_is_deleted_only_after_its_log_is_archived(
    reason: dict[str, Any],
) -> None:
    job, pod = make_view(LAUNCHED, **reason), make_pod()

    decided = decide(job, pod, policy=ON)
    assert wanted(decided) == {pod.name}
    assert decided.delete == ()
    assert not can_be_read_early(pod)  # only when status says that it goes

    given_up = decide(job, pod, policy=ON, logs=lost(pod))
    assert deleted_names(given_up) == {pod.name}


def test_an_ended_pod_is_archived_while_others_run() -> None:
    decided = decide(make_view(LAUNCHED, nodes=2), succeeded(0), make_pod(1), policy=ON)
    assert wanted(decided) == {succeeded(0).name}
    assert can_be_read_early(succeeded(0))


def test_a_pod_that_is_deleted_from_outside_is_archived_while_it_exists() -> None:
    pod = deleting(make_pod())
    assert wanted(decide(make_view(LAUNCHED), pod, policy=ON)) == {pod.name}
    assert can_be_read_early(pod)


def test_every_log_of_a_finished_job_is_archived_even_if_its_pods_are_kept() -> None:
    job = make_view(LAUNCHED, nodes=2, clean_pod_policy="None", shutdown="Stop")
    decided = decide(job, succeeded(0), failed(1), policy=ON)
    assert decided.status.is_finished
    assert wanted(decided) == {succeeded(0).name, failed(1).name}


# --- the condition --------------------------------------------------------------------------


def test_a_job_ends_with_logs_pending_and_then_names_their_location() -> None:
    job = finished(succeeded())
    assert job.status.logs_pending

    then = decide(job, succeeded(), policy=ON, logs=archived(succeeded(), size=321))
    assert verdict(then.status) == (True, "Archived")
    assert not then.status.logs_pending
    assert (then.status.log_path, then.status.log_bytes) == (f"job_{UID}", 321)
    again = decide(make_view(then.status), succeeded(), policy=ON)
    assert (again.archive, again.status) == ((), then.status)


def test_a_truncated_log_is_archived_and_reported_as_truncated() -> None:
    job = finished(succeeded())
    then = decide(job, succeeded(), policy=ON, logs=archived(succeeded(), cut=77))
    assert verdict(then.status) == (True, "Truncated")
    assert "the first 77 bytes of rank 0" in message(then.status)


def test_a_missing_log_stays_reported_after_later_successes() -> None:
    down = decide(make_view(LAUNCHED), failed(), policy=ON)
    told = decide(make_view(down.status), failed(), policy=ON, logs=lost(failed()))
    assert verdict(told.status) == (False, "Truncated")
    assert [event.reason for event in told.events] == ["Truncated"]

    second = replace(told.status, launched_attempt=1)
    pod = succeeded(attempt=1)
    ending = decide(make_view(second), pod, policy=ON)
    assert verdict(ending.status) == (False, "Pending")
    last = decide(make_view(ending.status), pod, policy=ON, logs=archived(pod))
    assert verdict(last.status) == (False, "Truncated")
    assert message(last.status) == "the log of rank 0 of attempt 0 is missing: the node is dead"


def test_if_nothing_could_be_archived_the_volume_is_reported_as_unavailable() -> None:
    job = finished(succeeded())
    outcome = lost(succeeded(), why="no space left", volume_fault=True)
    then = decide(job, succeeded(), policy=ON, logs=outcome)
    assert verdict(then.status) == (False, "VolumeUnavailable")
    assert "no space left" in message(then.status)
    assert not then.status.logs_pending


def test_a_volume_error_at_the_start_is_reported_and_cleared_by_a_later_success() -> None:
    decided = decide(make_view(LAUNCHED), make_pod(), policy=ON, volume_error="it is read-only")
    assert verdict(decided.status) == (False, "VolumeUnavailable")
    ending = decide(make_view(decided.status), succeeded(), policy=ON)
    last = decide(make_view(ending.status), succeeded(), policy=ON, logs=archived(succeeded()))
    assert verdict(last.status) == (True, "Archived")


def test_pods_that_disappeared_before_they_were_read_are_not_reported_as_archived() -> None:
    job = finished(succeeded())
    assert decide(job, policy=ON).needs_live_pods  # a watch can have a gap
    asked = decide(job, policy=ON, pods_are_live=True)
    assert asked.archive_search == ArchiveSearch(attempt=0, ranks=frozenset({0}))
    assert verdict(asked.status) == (False, "Pending")
    answered = decide(job, policy=ON, pods_are_live=True, logs=answer({0}, lost="it went"))
    assert verdict(answered.status) == (False, "Truncated")
    assert answered.archive_search is None


def test_logs_found_in_the_archive_count_although_their_pods_are_gone() -> None:
    job = finished(*(succeeded(rank) for rank in range(3)), nodes=3)
    here = succeeded(2)
    asked = decide(job, here, policy=ON, pods_are_live=True, logs=archived(here))
    assert asked.archive_search == ArchiveSearch(attempt=0, ranks=frozenset({0, 1}))
    logs = archived(here) | answer({0, 1})
    assert verdict(decide(job, here, policy=ON, logs=logs).status) == (True, "Archived")


def test_all_ranks_whose_logs_are_missing_at_the_end_are_named() -> None:
    pods = [succeeded(rank) for rank in range(6)]
    job = finished(*pods, nodes=6)
    first = decide(job, *pods, policy=ON, logs=lost(pods[1]))
    assert verdict(first.status) == (False, "Pending")
    job = make_view(first.status, nodes=6)
    logs = lost(pods[1]) | archived(*pods[3:5]) | answer({0, 2, 5}, lost="it went")
    last = decide(job, *pods[1:2], *pods[3:5], policy=ON, logs=logs)
    assert verdict(last.status) == (False, "Truncated")
    assert message(last.status).startswith("the logs of ranks 0-2,5 of attempt 0 are missing: ")


def test_a_rank_that_disappears_unread_with_its_attempt_is_reported_as_missing() -> None:
    job = make_view(LAUNCHED, nodes=4)
    pods = (make_pod(0), pending(1))
    down = decide(job, *pods, policy=ON, vanished=frozenset({2}), pods_are_live=True)
    assert down.status.attempt == 1
    assert verdict(down.status) == (False, "Truncated")
    assert message(down.status).startswith("the logs of ranks 2-3 of attempt 0 are missing: ")
    assert [e.reason for e in down.events if e.reason == "Truncated"] == ["Truncated"]


def test_a_rank_that_was_deleted_before_it_started_has_no_missing_log() -> None:
    job = make_view(LAUNCHED, nodes=2)
    gone: dict[str, Any] = {"vanished": frozenset({1}), "unbegun": frozenset({1})}
    down = decide(job, make_pod(0), policy=ON, pods_are_live=True, **gone)
    assert down.status.attempt == 1
    assert verdict(down.status) is None


def test_an_attempt_that_was_not_launched_misses_only_ranks_whose_pods_were_seen_to_disappear() -> (
    None
):
    job = make_view(make_status(), nodes=3, suspend=True)
    down = decide(job, make_pod(0), policy=ON, vanished=frozenset({1}))
    assert down.status.attempt == 1
    assert message(down.status).startswith("the log of rank 1 of attempt 0 is missing: ")


def test_a_pod_without_a_started_container_delays_nothing() -> None:
    rejected = failed(0, has_begun=False)
    ended = decide(make_view(LAUNCHED, backoff_limit=0), rejected, policy=ON)
    assert ended.archive == ()
    assert verdict(ended.status) == (True, "Archived")
    fetch = replace(rejected, failed_beside=("fetch",))
    assert wanted(decide(make_view(LAUNCHED, backoff_limit=0), fetch, policy=ON)) == {fetch.name}


def test_a_job_without_any_pod_gets_no_logs_condition() -> None:
    decided = decide(make_view(invalid="spec.numNodes: no number"), policy=ON)
    assert decided.status.is_finished
    assert verdict(decided.status) is None


def test_a_removed_volume_ends_the_wait_for_logs() -> None:
    job = finished(succeeded())
    decided = decide(job, succeeded())
    assert verdict(decided.status) == (False, "VolumeUnavailable")


def test_the_size_of_the_logs_causes_no_status_write_of_its_own() -> None:
    running = decide(make_view(LAUNCHED, nodes=2), succeeded(0), make_pod(1), policy=ON).status
    job = make_view(running, nodes=2)
    decided = decide(job, succeeded(0), make_pod(1), policy=ON, logs=archived(succeeded(0)))
    assert decided.status == running


# --- what waits for logs --------------------------------------------------------------------


def test_a_deleted_job_is_released_when_its_logs_are_archived() -> None:
    fields: dict[str, Any] = {"deleting": True, "finalizers": (FINALIZER_RECORD,)}
    status = replace(finished(succeeded()).status, record_state="Stored", record_revision=1)

    waits = decide(make_view(status, **fields), succeeded(), policy=RECORDING)
    assert not waits.release
    last = decide(
        make_view(status, **fields), succeeded(), policy=RECORDING, logs=archived(succeeded())
    )
    assert last.release


def test_a_job_with_pending_logs_gets_a_pass_from_the_next_process() -> None:
    job = finished(succeeded())
    assert awaits_release(job)
    assert not awaits_release(replace(job, status=make_status()))


@pytest.mark.parametrize("reason", ["Archived", "Truncated", "VolumeUnavailable", "Pruned"])
def test_every_reason_but_pending_ends_the_wait(reason: str) -> None:
    assert not make_status(make_condition("LogsArchived", reason=reason)).logs_pending
    assert not make_status().logs_pending
    assert make_status(make_condition("LogsArchived", status=False, reason="Pending")).logs_pending
