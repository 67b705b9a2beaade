"""The decisions of the sweep of the volume, one table each."""

from datetime import UTC, datetime

import pytest

from trainingjob_operator.volume.layout import is_uid
from trainingjob_operator.volume.ownership import Mark, Owner
from trainingjob_operator.volume.sweep.rules import (
    FUTURE_NS,
    NS,
    LiveJobs,
    Reason,
    cutoff,
    excess,
    has_stepped,
    judge_job,
    judge_mark,
    last_change,
    share,
)

UID = "0b7d2f3a-5c51-4f0e-9d0f-0123456789ab"
OTHER = "ffffffff-5c51-4f0e-9d0f-0123456789ab"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (UID, True),
        (UID.upper(), False),
        (UID + "\n", False),
        (UID[:-1], False),
        ("42", False),
        ("", False),
        ("\u0660" * 8 + UID[8:], False),
    ],
)
def test_a_uid_is_what_kubernetes_writes(text: str, expected: bool) -> None:
    assert is_uid(text) is expected


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (LiveJobs(frozenset()), None),
        (LiveJobs(frozenset({OTHER})), None),
        (LiveJobs(frozenset({UID})), Reason.LIVE),
        (LiveJobs(frozenset({UID}), finished={UID: LONG_AGO}), Reason.FINISHED),
        (LiveJobs(frozenset({UID}), kept=frozenset({UID})), Reason.KEPT),
        (LiveJobs(frozenset(), finished={UID: LONG_AGO}), Reason.FINISHED),
        (LiveJobs(frozenset(), kept=frozenset({UID})), Reason.KEPT),
    ],
)
def test_a_job_that_the_cluster_knows_keeps_its_files(
    live: LiveJobs, expected: Reason | None
) -> None:
    assert judge_job(UID, live) is expected


@pytest.mark.parametrize(
    ("job_id", "legacy", "expected"),
    [
        ("42", False, Reason.UNOWNED),
        ("42", True, None),
        ("7", True, Reason.LIVE),
        ("7.ckpt", True, Reason.LIVE),
        ("7-best", True, Reason.LIVE),
        ("77", True, None),
        (f"{UID}.log.1", True, Reason.LIVE),
        (f"backup-{UID.upper()}", True, Reason.LIVE),
        (f"{OTHER}.log.1", True, None),
    ],
)
def test_an_older_id_goes_only_when_asked_for_and_when_no_live_job_is_in_it(
    job_id: str, legacy: bool, expected: Reason | None
) -> None:
    live = LiveJobs(frozenset({"7", UID}))
    assert judge_job(job_id, live, legacy=legacy) is expected


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        (None, None),
        (Mark(UID, "ml", "mnist", "here", "me"), None),
        (Mark(UID, "ml", "mnist", "here", "you"), Reason.FOREIGN),
        (Mark(UID, "ml", "mnist", "here"), Reason.FOREIGN),
        (Mark(UID, "ml", "mnist", "there", "before"), None),
        (Mark(UID, "hr", "mnist", "here", "me"), Reason.FOREIGN),
        (Mark(OTHER, "ml", "mnist", "here", "me"), Reason.FOREIGN),
    ],
)
def test_a_mark_holds_what_is_not_ours(mark: Mark | None, expected: Reason | None) -> None:
    assert judge_mark(UID, mark, Owner("here", ("ml",), "me", ("before",))) is expected


def test_a_mark_that_names_no_owner_is_taken_only_when_a_person_has_said_so() -> None:
    old = Mark(UID, "ml", "mnist", "here")
    assert judge_mark(UID, old, Owner("here", identity="me")) is Reason.FOREIGN
    assert judge_mark(UID, old, Owner("here")) is Reason.FOREIGN
    assert judge_mark(UID, old, Owner("here", identity="me", adopted=("",))) is None


def test_the_last_change_is_the_later_time_unless_it_was_made_up() -> None:
    now = 1_000_000 * NS
    assert last_change(5, 9, now_ns=now) == 9
    assert last_change(9, 5, now_ns=now) == 9
    assert last_change(now + FUTURE_NS, 5, now_ns=now) == now + FUTURE_NS
    assert last_change(now + FUTURE_NS + 1, 5, now_ns=now) == 5


def test_the_cut_off_lies_before_the_list_of_jobs_was_begun() -> None:
    now = 1_000 * NS
    assert cutoff(now, max_age_s=100, since_list_s=None) == 900 * NS
    assert cutoff(now, max_age_s=100, since_list_s=10) == 900 * NS
    assert cutoff(now, max_age_s=1, since_list_s=10) == 985 * NS


@pytest.mark.parametrize(("entries", "expected"), [(0, 5), (10, 5), (25, 5), (100, 20)])
def test_a_sweep_takes_a_share_or_a_few(entries: int, expected: int) -> None:
    assert share(entries, percent=20, at_least=5) == expected


@pytest.mark.parametrize(
    ("used", "quota", "expected"),
    [(0, 100, 0), (100, 100, 0), (101, 100, 11), (200, 100, 110), (1 << 60, 0, 0)],
)
def test_above_the_quota_as_much_goes_as_it_takes_and_no_more(
    used: int, quota: int, expected: int
) -> None:
    assert excess(used, quota) == expected


@pytest.mark.parametrize(
    ("wall", "volume", "expected"),
    [(600, 600, False), (3000, 600, False), (5000, 600, True), (600, -4000, True)],
)
def test_a_clock_has_stepped_when_it_parts_from_the_monotonic_one(
    wall: float, volume: float, expected: bool
) -> None:
    assert has_stepped(600, wall, volume, limit_s=3600) is expected
