"""Unread logs of ended attempts stay in status until they are archived, across operator restarts."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from tests.support.views import (
    UID,
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
from trainingjob_api.constants import MAX_UNREAD_ATTEMPTS
from trainingjob_operator.core.decision import ArchiveSearch, DecisionSettings, LogOutcome, Plan
from trainingjob_operator.core.job import Condition, JobStatus, UnreadLogs
from trainingjob_operator.core.pod import PodView
from trainingjob_operator.core.status_wire import status_document, status_patch, status_view

ON = DecisionSettings(archiving=True)
LAUNCHED = make_status(launched_attempt=0)
GONE = "it went"


def noted(*ranks: str, attempt: int = 1, **fields: Any) -> JobStatus:
    """A status that lists unread logs of the first attempts, with these ranks for each."""
    unread = tuple(UnreadLogs(attempt=n, ranks=each) for n, each in enumerate(ranks))
    defaults: dict[str, Any] = {"launched_attempt": attempt, "log_path": f"job_{UID}"}
    return make_status(attempt=attempt, unread_logs=unread, **defaults | fields)


def archived(*pods: PodView, **fields: Any) -> dict[str, LogOutcome]:
    return {
        pod.uid: LogOutcome(attempt=pod.attempt, rank=pod.index, size=100, **fields)
        for pod in pods
    }


def answer(ranks: set[int], *, missing: Collection[int] = ()) -> dict[str, LogOutcome]:
    """Outcome of a search of the archive for attempt 0."""
    outcome = LogOutcome(
        attempt=0,
        rank=min(missing or ranks),
        lost=GONE if missing else "",
        searched_ranks=frozenset(ranks),
        ranks=frozenset(missing),
    )
    return {"archive_search": outcome}


def unread(decided: Plan) -> dict[int, str]:
    return {entry.attempt: entry.ranks for entry in decided.status.unread_logs}


def said(decided: Plan) -> Condition:
    found = decided.status.condition("LogsArchived")
    assert found is not None
    return found


# --- entries in status ----------------------------------------------------------------------------


def test_the_write_that_ends_an_attempt_lists_its_unread_logs() -> None:
    pods = (failed(0), make_pod(1), make_pod(2), pending(3))
    down = decide(make_view(LAUNCHED, nodes=4), *pods, policy=ON, logs=archived(failed(0)))
    assert down.status.attempt == 1
    assert unread(down) == {0: "1-2"}  # the last one has not begun: there is no log


def test_a_suspension_lists_unread_logs() -> None:
    down = decide(make_view(LAUNCHED, nodes=2, suspend=True), *map(make_pod, (0, 1)), policy=ON)
    assert (down.status.attempt, unread(down)) == (1, {0: "0-1"})


def test_nothing_is_listed_while_an_attempt_runs() -> None:
    running = decide(make_view(LAUNCHED, nodes=2), succeeded(0), make_pod(1), policy=ON)
    assert unread(running) == {}


def test_a_pod_that_started_after_its_attempt_ended_is_listed_by_the_next_write() -> None:
    job = make_view(noted("0"), nodes=2)
    late = deleting(make_pod(1))
    decided = decide(job, late, policy=ON, logs=archived(make_pod(0)), pods_are_live=True)
    assert decided.status != job.status
    assert unread(decided) == {0: "1"}


def test_a_pod_that_started_after_the_end_is_listed_before_it_is_deleted() -> None:
    """It may disappear before the next process sees it, which would not know that it had a log."""
    ended = noted("0", launched_attempt=0)
    kept = decide(make_view(ended, nodes=2), make_pod(1), policy=ON, logs=archived(make_pod(0)))
    assert (unread(kept), kept.delete) == ({0: "1"}, ())
    again = decide(make_view(kept.status, nodes=2), make_pod(1), policy=ON)
    assert again.status == kept.status


def test_a_rank_deleted_before_it_started_is_listed_as_unbegun_and_its_log_not_searched() -> None:
    job = make_view(LAUNCHED, nodes=3, shutdown="Stop")
    stopping = decide(job, make_pod(0), pending(1), pending(2), policy=ON)
    assert stopping.status.unbegun_indexes == "1-2"
    assert deleted_names(stopping) >= {pending(1).name, pending(2).name}

    job = make_view(stopping.status, nodes=3, shutdown="Stop")
    asked = decide(job, policy=ON, pods_are_live=True)
    assert asked.status.is_finished
    assert asked.archive_search == ArchiveSearch(attempt=0, ranks=frozenset({0}))
    told = decide(make_view(asked.status, nodes=3), policy=ON, logs=answer({0}))
    assert (said(told).status, said(told).reason) == (True, "Archived")
    assert status_view(status_document(told.status)) == told.status


def test_a_rejected_pod_counts_as_not_started() -> None:
    job = make_view(LAUNCHED, nodes=2, backoff_limit=0, clean_pod_policy="All")
    pods = (failed(0), failed(1, has_begun=False))
    ending = decide(job, *pods, policy=ON, logs=archived(pods[0]))
    assert ending.status.is_finished
    assert ending.status.unbegun_indexes == "1"
    assert {victim.version for victim in ending.delete} == {None}  # it cannot begin any more


def test_the_log_of_a_rank_that_started_after_all_is_searched() -> None:
    job = make_view(LAUNCHED, nodes=2, shutdown="Stop")
    stopping = decide(job, make_pod(0), pending(1), policy=ON)
    job = make_view(stopping.status, nodes=2, shutdown="Stop")
    begun = decide(job, make_pod(0), make_pod(1), policy=ON)
    assert begun.status.unbegun_indexes == ""
    assert {pod.index for pod in begun.archive} == {0, 1}


def test_the_log_of_a_rank_that_was_seen_to_start_is_searched_despite_an_unbegun_entry() -> None:
    """Its node started it before the deletion, and reported that together with its end."""
    job = make_view(replace(LAUNCHED, unbegun_indexes="1"), nodes=2, shutdown="Stop")
    gone: dict[str, Any] = {"vanished": frozenset({0, 1}), "begun": frozenset({1})}
    asked = decide(job, policy=ON, pods_are_live=True, **gone)
    assert asked.status.is_finished
    assert asked.status.unbegun_indexes == ""
    assert asked.archive_search == ArchiveSearch(attempt=0, ranks=frozenset({0, 1}))


def test_unbegun_ranks_are_reset_with_a_new_attempt() -> None:
    job = make_view(replace(LAUNCHED, unbegun_indexes="1"), nodes=2)
    down = decide(job, failed(0), pending(1), policy=ON, logs=archived(failed(0)))
    assert (down.status.attempt, down.status.unbegun_indexes) == (1, "")
    assert [victim.version for victim in down.delete if victim.name == pending(1).name] == [
        pending(1).resource_version
    ]


def test_a_pod_without_a_log_is_deleted_only_at_the_version_that_was_seen() -> None:
    job = make_view(LAUNCHED, nodes=3, shutdown="Stop")
    pods = (succeeded(0), pending(1), make_pod(2))
    logs = archived(pods[0], pods[2])
    stop = decide(job, *pods, policy=ON, logs=logs)
    assert {victim.name: victim.version for victim in stop.delete} == {
        pods[1].name: pods[1].resource_version,
        pods[2].name: None,  # what it writes from now on is known to be left out
    }
    without = decide(job, *pods)
    assert {victim.version for victim in without.delete} == {None}


def test_unread_entries_shrink_with_the_write_before_a_deletion_and_are_then_removed() -> None:
    pods = (failed(0), make_pod(1))
    job = make_view(noted("0-1", launched_attempt=0), nodes=2)
    first = decide(job, *pods, policy=ON, logs=archived(failed(0)))
    assert (unread(first), deleted_names(first)) == ({0: "1"}, {failed(0).name})
    job = make_view(first.status, nodes=2)
    last = decide(job, *pods, policy=ON, logs=archived(*pods))
    assert unread(last) == {}


def test_a_kept_pod_is_listed_only_as_long_as_its_log_is_unread() -> None:
    kept = replace(deleting(failed(0)), held_by="example.com/quota")
    job = make_view(noted("0"))
    current = make_pod(attempt=1)
    assert decide(job, kept, current, policy=ON).archive == (kept,)
    done = decide(job, kept, current, policy=ON, logs=archived(kept))
    assert (unread(done), done.archive, done.archive_search) == ({}, (), None)
    again = decide(make_view(done.status), kept, current, policy=ON)
    assert again.status == done.status  # nor is it noted again by a process that knows nothing


def test_logs_of_too_many_attempts_are_reported_as_missing() -> None:
    ranks = ["0"] * MAX_UNREAD_ATTEMPTS
    status = noted(*ranks, attempt=MAX_UNREAD_ATTEMPTS)
    pods = [make_pod(attempt=n) for n in range(MAX_UNREAD_ATTEMPTS)]
    last = failed(attempt=MAX_UNREAD_ATTEMPTS)
    down = decide(make_view(status), *pods, last, policy=ON)
    assert down.status.attempt == MAX_UNREAD_ATTEMPTS + 1
    assert sorted(unread(down)) == list(range(1, MAX_UNREAD_ATTEMPTS + 1))
    assert said(down).message.startswith("the log of rank 0 of attempt 0 is missing: ")


def test_giving_up_the_logs_of_old_attempts_does_not_end_the_wait_of_a_finished_job() -> None:
    last = MAX_UNREAD_ATTEMPTS
    job = make_view(noted(*["0"] * last, attempt=last, launched_attempt=0), shutdown="Stop")
    pods = [failed(attempt=n) for n in range(last + 1)]
    ending = decide(job, *pods, policy=ON)
    assert ending.status.is_finished
    assert said(ending).reason == "Pending"
    assert "the log of rank 0 of attempt 0 is missing: " in said(ending).message
    again = decide(make_view(ending.status, shutdown="Stop"), *pods, policy=ON)
    assert again.status == ending.status


# --- pods that disappeared while no operator ran --------------------------------------------------


def test_the_archive_is_searched_once_a_listed_rank_certainly_has_no_pod() -> None:
    job = make_view(noted("0-2", launched_attempt=0), nodes=3)
    here = make_pod(1)
    assert decide(job, here, policy=ON).needs_live_pods
    asked = decide(job, here, policy=ON, pods_are_live=True)
    assert asked.archive_search == ArchiveSearch(attempt=0, ranks=frozenset({0, 2}))
    assert asked.archive == (here,)


def test_a_log_not_found_in_the_archive_is_reported_as_missing_and_removed_from_the_list() -> None:
    job = make_view(noted("0-2"), nodes=3)
    current = [make_pod(rank, attempt=1) for rank in range(3)]
    logs = answer({0, 1, 2}, missing={0, 2})
    told = decide(job, *current, policy=ON, logs=logs)
    assert unread(told) == {}
    assert (said(told).status, said(told).reason) == (False, "Truncated")
    assert said(told).message == f"the logs of ranks 0,2 of attempt 0 are missing: {GONE}"


def test_a_log_found_in_the_archive_is_silently_removed_from_the_list() -> None:
    job = make_view(noted("0-2"), nodes=3)
    current = [make_pod(rank, attempt=1) for rank in range(3)]
    decided = decide(job, *current, policy=ON, logs=answer({0, 1, 2}))
    assert unread(decided) == {}
    assert decided.status.condition("LogsArchived") is None


def test_the_archive_is_searched_for_one_attempt_at_a_time() -> None:
    job = make_view(noted("0", "1", attempt=2), nodes=2)
    current = [make_pod(rank, attempt=2) for rank in range(2)]
    seen: dict[str, Any] = {"policy": ON, "pods_are_live": True}
    first = decide(job, *current, **seen)
    assert first.archive_search == ArchiveSearch(attempt=0, ranks=frozenset({0}))
    second = decide(job, *current, **seen, logs=answer({0}))
    assert second.archive_search == ArchiveSearch(attempt=1, ranks=frozenset({1}))


def test_the_next_attempt_is_created_before_the_archive_is_searched() -> None:
    job = make_view(noted("0", launched_attempt=0))
    decided = decide(job, policy=ON)
    assert decided.create == (0,)
    assert not decided.needs_live_pods


@pytest.mark.parametrize("lost", [set(), {0}], ids=["it has it", "it has not"])
def test_a_finished_job_waits_for_the_search_of_earlier_attempts(
    lost: set[int],
) -> None:
    pod = succeeded(attempt=1)
    job = make_view(noted("0"))
    logs = archived(pod)
    ending = decide(job, pod, policy=ON, logs=logs, pods_are_live=True)
    assert ending.status.is_finished
    assert (said(ending).reason, unread(ending)) == ("Pending", {0: "0"})
    assert ending.archive_search == ArchiveSearch(attempt=0, ranks=frozenset({0}))

    job = make_view(ending.status)
    last = decide(job, pod, policy=ON, logs=logs | answer({0}, missing=lost))
    assert unread(last) == {}
    assert (said(last).status, said(last).reason) == (
        (False, "Truncated") if lost else (True, "Archived")
    )


def test_the_pods_of_a_gang_that_was_only_partly_created_are_listed() -> None:
    job = make_view(make_status(), nodes=3, shutdown="Stop")
    pods = (succeeded(0), failed(1))
    ending = decide(job, *pods, policy=ON)
    assert ending.status.is_finished
    assert unread(ending) == {0: "0-1"}
    job = make_view(ending.status, nodes=3, shutdown="Stop")
    later = decide(job, pods[0], policy=ON, logs=archived(pods[0]), pods_are_live=True)
    assert later.archive_search == ArchiveSearch(attempt=0, ranks=frozenset({1}))
    assert said(later).reason == "Pending"


def test_a_volume_error_is_reported_as_the_cause() -> None:
    job = make_view(noted("0"))
    fault = replace(answer({0}, missing={0})["archive_search"], lost="it is read-only")
    told = decide(job, make_pod(attempt=1), policy=ON, logs={"archive_search": fault})
    assert said(told).message == "the log of rank 0 of attempt 0 is missing: it is read-only"


def test_without_a_volume_listed_logs_are_missing_and_nothing_new_is_listed() -> None:
    job = make_view(noted("0-1"), nodes=2)
    decided = decide(job, failed(0, attempt=1), make_pod(1, attempt=1))
    assert decided.status.attempt == 2
    assert unread(decided) == {}
    assert "the logs of ranks 0-1 of attempt 0 are missing" in said(decided).message


# --- in the job's status --------------------------------------------------------------------------


def test_unread_logs_survive_a_round_trip_and_a_patch_removes_them() -> None:
    status = replace(noted("0,2-5", "7", attempt=2), log_bytes=5, phase="Running")
    document = status_document(status)
    assert status_view(document) == status
    patch = status_patch(status, replace(status, unread_logs=()))
    assert patch == {"logs": {"path": f"job_{UID}", "bytes": 5, "unread": None}}


@pytest.mark.parametrize(
    "raw", [None, "0-2", [None, 7], [{"attempt": "x"}], [{"attempt": 0, "ranks": "x"}]]
)
def test_an_invalid_unread_entry_delays_nothing(raw: Any) -> None:
    status = status_view({"attempt": 1, "launchedAttempt": 1, "logs": {"unread": raw}})
    decided = decide(make_view(status), make_pod(attempt=1), policy=ON)
    assert not decided.needs_live_pods
    assert unread(decided) == {}
