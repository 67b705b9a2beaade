"""The quota of files without a job: what is removed early, in which order, and what never is."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.support.volume.volume import EVERYTHING, NOBODY, WEEK_S, Volume, moment, new_uid
from trainingjob_operator.volume.layout import Entry
from trainingjob_operator.volume.sweep.quota import Candidates, QuotaSchedule
from trainingjob_operator.volume.sweep.rules import LiveJobs, VolumeReport
from trainingjob_operator.volume.sweep.trash import Trash
from trainingjob_operator.volume.sweep.tree_age import Top, Tree

LOG: Final = 16_384
HOURS_S: Final = 2 * 3600.0


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "volume", limits=EVERYTHING)


def log(volume: Volume, uid: str = "", size: int = LOG) -> Path:
    path = volume.log(uid or new_uid())
    path.write_bytes(b"x" * size)
    moment(volume.path.parent)  # the next one is younger
    return path


def sweep(volume: Volume, quota: int, live: LiveJobs = NOBODY) -> VolumeReport:
    """Sweep two hours after the last change so far."""
    volume.limits = replace(volume.limits, quota=quota)
    volume.age()
    return volume.new_sweep(max_age_s=HOURS_S).sweep(live, max_age_s=WEEK_S)


def test_without_a_quota_nothing_goes_before_its_time(volume: Volume) -> None:
    log(volume)
    assert sweep(volume, 0).files_removed == 0


def test_up_to_the_quota_nothing_goes_before_its_time(volume: Volume) -> None:
    for _ in range(3):
        log(volume)
    assert sweep(volume, 3 * LOG).files_removed == 0


def test_above_the_quota_the_oldest_go_until_a_tenth_less_is_taken(volume: Volume) -> None:
    made = [log(volume) for _ in range(12)]
    report = sweep(volume, 10 * LOG)
    assert [each.exists() for each in made] == [False] * 3 + [True] * 9
    assert (report.files_removed, report.bytes_freed, report.healthy) == (3, 3 * LOG, True)


def test_logs_and_data_sets_go_before_results_that_are_older(volume: Volume) -> None:
    result = volume.tree(f"job_{new_uid()}", files=1, content=b"x" * LOG)
    moment(volume.path.parent)
    data = volume.tree(f"datasets/job_{new_uid()}", files=1, content=b"x" * LOG)
    archived = log(volume, size=2 * LOG)
    sweep(volume, 4 * LOG)
    assert (result.exists(), data.exists(), archived.exists()) == (True, False, False)
    sweep(volume, LOG)
    assert not result.exists(), "and a quota that they alone exceed takes them in the end"


def test_what_the_quota_is_not_about_counts_nothing_and_stays(volume: Volume) -> None:
    lives, kept, done = new_uid(), new_uid(), log(volume)
    of_live_job = log(volume, lives, size=50 * LOG)
    pinned = volume.tree(f"job_{kept}", files=5, content=b"x" * LOG)
    (pinned / ".keep").touch()
    nobodys = volume.path / "others"
    nobodys.write_bytes(b"x" * 50 * LOG)
    report = sweep(volume, 2 * LOG, LiveJobs(frozenset({lives})))
    assert report.files_removed == 0
    assert all(each.exists() for each in (of_live_job, pinned, nobodys, done))


def test_what_changed_within_the_hour_stays_even_above_the_quota(volume: Volume) -> None:
    path = log(volume)
    volume.limits = replace(volume.limits, quota=1)
    volume.age()
    volume.new_sweep(max_age_s=1800).sweep(NOBODY, max_age_s=WEEK_S)
    assert path.exists()


def test_what_has_another_name_is_not_given_up_because_that_frees_nothing(volume: Volume) -> None:
    path = log(volume)
    (volume.path / "backup").hardlink_to(path)
    log(volume)
    assert sweep(volume, 1).files_removed == 1
    assert path.exists()


def test_what_cannot_be_removed_is_not_made_up_for_by_others(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = log(volume, size=8 * LOG)
    other = log(volume)
    really = Trash.move_in

    def refuse(trash: Trash, entry: Entry) -> str:
        if entry.name == stuck.name:
            raise PermissionError(1, os.strerror(1), entry.name)
        return really(trash, entry)

    monkeypatch.setattr(Trash, "move_in", refuse)
    report = sweep(volume, 4 * LOG)
    assert (stuck.exists(), other.exists(), report.reason) == (True, True, "PermissionDenied")


def test_it_looks_for_a_tenth_of_the_time_at_most() -> None:
    now = 100.0
    quota_schedule = QuotaSchedule(lambda: now)
    assert quota_schedule.is_due()
    quota_schedule.begin()
    now += 10
    quota_schedule.end()
    now += 89
    assert not quota_schedule.is_due()
    now += 1
    assert quota_schedule.is_due()
    quota_schedule.end()
    quota_schedule.reset()
    assert quota_schedule.is_due(), "another volume"


def test_of_more_than_it_remembers_it_knows_the_bytes_and_those_that_go_first() -> None:
    candidates = Candidates(limit=3)
    for age in (5, 1, 4, 2, 3):
        top = Top(device=1, inode=age, mtime_ns=age, size=0, ctime_ns=age)
        tree = Tree(top, newest_ns=age, files=1, bytes=10)
        candidates.add(Entry(f"job_{age}", str(age), at=0), tree)
    assert candidates.bytes == 50
    assert [tree.newest_ns for _, tree in candidates.victims(35)] == [1, 2]
    assert len(candidates.victims(1)) == 3
