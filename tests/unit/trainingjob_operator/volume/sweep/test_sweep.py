"""Removed and kept entries on a real file system, with a clock that is set."""

import json
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.volume.volume import NOBODY, OURS, WEEK_S, Volume, moment, new_uid
from trainingjob_operator.volume.ownership import Mark
from trainingjob_operator.volume.root import Root
from trainingjob_operator.volume.sweep.budget import Limits
from trainingjob_operator.volume.sweep.rules import LiveJobs


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "volume")


def test_the_old_files_of_a_job_that_is_gone_go(volume: Volume) -> None:
    uid = new_uid()
    volume.tree(f"job_{uid}")
    volume.tree(f"datasets/job_{uid}", files=3)
    volume.log(uid)
    volume.age()

    report = volume.sweep()

    assert volume.names() == {"datasets"}
    assert not any((volume.path / "datasets").iterdir())
    assert (report.files_removed, report.directories_removed) == (4 + 6 + 1, 2 + 2)
    assert (report.healthy, report.errors, dict(report.skipped)) == (True, 0, {})
    assert report.bytes_freed > 0
    assert volume.trash() == []


def test_the_room_of_the_file_system_is_in_the_report(volume: Volume) -> None:
    room = volume.sweep().room
    total, _, free = shutil.disk_usage(volume.path)
    assert room is not None
    assert room.size_bytes == total
    assert 0 < room.free_bytes < total
    assert abs(room.free_bytes - free) < total / 10


def test_a_live_job_keeps_everything_however_old(volume: Volume) -> None:
    uid = new_uid()
    for name in (f"job_{uid}", f"datasets/job_{uid}"):
        volume.tree(name)
    volume.log(uid)
    volume.age()

    report = volume.sweep(LiveJobs(uids=frozenset({uid})))

    assert volume.names() == {"datasets", f"job_{uid}", f"job_{uid}.log"}
    assert report.files_removed == report.directories_removed == 0
    assert report.skipped == {"live": 3}


def test_a_finished_job_that_still_exists_keeps_its_files(volume: Volume) -> None:
    uid = new_uid()
    volume.tree(f"job_{uid}")
    volume.age()
    live = LiveJobs(frozenset({uid}), finished={uid: datetime(2020, 1, 1, tzinfo=UTC)})
    assert volume.sweep(live).skipped == {"finished": 1}


def test_a_job_with_the_annotation_keeps_its_files_even_when_the_list_forgot_it(
    volume: Volume,
) -> None:
    uid = new_uid()
    volume.tree(f"job_{uid}")
    volume.age()
    assert volume.sweep(LiveJobs(frozenset(), kept=frozenset({uid}))).skipped == {"kept": 1}


def test_a_file_keep_holds_all_that_the_job_left(volume: Volume) -> None:
    held, other = new_uid(), new_uid()
    (volume.tree(f"job_{held}") / ".keep").touch()
    volume.log(held)
    volume.tree(f"datasets/job_{held}")
    (volume.tree(f"datasets/job_{other}") / ".keep").touch()
    volume.log(other)
    volume.age()

    report = volume.sweep()

    assert report.skipped == {"kept": 4}
    assert volume.names() == {f"job_{held}", f"job_{held}.log", "datasets"}
    assert len(list((volume.path / "datasets").iterdir())) == 2


def test_a_file_that_was_written_deep_inside_keeps_the_whole_directory(volume: Volume) -> None:
    uid = new_uid()
    deep = volume.tree(f"job_{uid}/checkpoints/step-1")
    volume.age()
    with (deep / "below" / "file-1").open("ab") as file:
        file.write(b"more")

    assert volume.sweep().skipped == {"young": 1}
    assert (deep / "below" / "file-1").read_bytes() == b"contentmore"


def test_a_file_that_was_made_deep_inside_keeps_the_whole_directory(volume: Volume) -> None:
    uid = new_uid()
    deep = volume.tree(f"job_{uid}/checkpoints/step-1")
    volume.age()
    (deep / "below" / "new").touch()
    os.utime(deep / "below" / "new", (0, 0))
    assert volume.sweep().skipped == {"young": 1}
    assert (deep / "below" / "new").exists()


def test_a_copy_that_brought_its_old_times_along_is_young(volume: Volume) -> None:
    uid = new_uid()
    directory = volume.tree(f"job_{uid}")
    volume.age()
    copied = directory / "below" / "file-0"
    os.utime(copied, (0, 0))  # as `cp -p` and tar do: the inode's own change cannot be set

    assert copied.stat().st_mtime == 0
    assert volume.sweep().skipped == {"young": 1}


def test_a_time_in_the_far_future_holds_nothing_for_ever(volume: Volume) -> None:
    uid = new_uid()
    directory = volume.tree(f"job_{uid}")
    year_2300 = 10_413_792_000
    os.utime(directory / "file-0", (year_2300, year_2300))
    os.utime(directory, (year_2300, year_2300))
    volume.age()
    assert volume.sweep().directories_removed == 2


def test_nothing_goes_before_its_age(volume: Volume) -> None:
    uid = new_uid()
    volume.tree(f"job_{uid}")
    volume.age()
    sweep = volume.new_sweep()
    volume.clock.wall_ns -= 10_000_000_000  # ten seconds to go
    assert sweep.sweep(NOBODY, max_age_s=WEEK_S).skipped == {"young": 1}


def test_what_changed_after_the_list_was_begun_stays_whatever_the_maximum_age(
    volume: Volume,
) -> None:
    """A job that was created while the list was on its way may own it."""
    volume.age()
    volume.log(new_uid())
    sweep = volume.new_sweep(max_age_s=60)
    began = volume.clock.now() - timedelta(seconds=60)
    assert sweep.sweep(LiveJobs(frozenset(), listed_at=began), max_age_s=1).skipped == {"young": 1}
    later = began + timedelta(seconds=30)
    assert sweep.sweep(LiveJobs(frozenset(), listed_at=later), max_age_s=1).files_removed == 1


def test_only_names_of_ours_are_touched(volume: Volume, tmp_path: Path) -> None:
    for name in ("readme.txt", "job", "jobs_1", "datasets/shared", "job_/x", "tmp/job_x"):
        (volume.path / name).parent.mkdir(parents=True, exist_ok=True)
        (volume.path / name).write_text("mine")
    volume.tree("other")
    volume.age()
    before = volume.names()

    report = volume.sweep()

    assert volume.names() == before
    assert report.files_removed == report.directories_removed == 0


def test_an_id_that_is_no_uid_is_nobodys(volume: Volume) -> None:
    uid = new_uid()
    (volume.path / "job_42.log").touch()
    volume.tree(f"job_{uid.upper()}")
    (volume.path / f"job_{uid}.log.1").touch()
    volume.age()
    assert volume.sweep().skipped == {"unowned": 3}


def test_legacy_ids_go_when_asked_for_but_never_a_live_one(volume: Volume) -> None:
    uid = new_uid()
    for name in ("job_42.log", "job_7.log", "job_7.ckpt", f"job_{uid}.log.1", "job_71.log"):
        (volume.path / name).touch()
    volume.age()
    volume.legacy = True

    report = volume.sweep(LiveJobs(frozenset({"7", uid})))

    assert volume.names() == {"job_7.log", "job_7.ckpt", f"job_{uid}.log.1"}
    assert report.skipped == {"live": 3}


@pytest.mark.parametrize(
    ("identity", "namespace", "stays"),
    [
        (OURS.identity, "ml", False),
        ("another", "ml", True),
        ("", "ml", True),
        (OURS.identity, "secret", True),
    ],
)
def test_a_mark_of_another_cluster_or_namespace_holds_all_that_the_job_left(
    tmp_path: Path, identity: str, namespace: str, stays: bool
) -> None:
    volume = Volume(tmp_path / "volume", owner=replace(OURS, namespaces=("ml",)))
    uid = new_uid()
    with Root.open(str(volume.path)) as root:
        mark = Mark(uid, namespace, "mnist", "test", identity)
        os.close(root.make_job_directory(mark, mode=0o755))
    volume.log(uid)
    volume.age()

    report = volume.sweep()

    assert report.skipped == ({"foreign": 2} if stays else {})
    assert (f"job_{uid}" in volume.names()) is stays


@pytest.mark.parametrize(
    "mark", ["", "[]", "{}", "null", '{"uid": 1}', "{" * 100_000, "[" * 60_000, "\x00"]
)
def test_a_mark_that_cannot_be_understood_holds_its_directory(volume: Volume, mark: str) -> None:
    (volume.tree(f"job_{new_uid()}") / ".trainingjob").write_text(mark)
    volume.age()
    assert volume.sweep().skipped == {"foreign": 1}


def test_a_mark_that_names_another_job_holds_its_directory(volume: Volume) -> None:
    mark = {"uid": new_uid(), "namespace": "ml", "name": "mnist", "cluster": "test"}
    (volume.tree(f"job_{new_uid()}") / ".trainingjob").write_text(json.dumps(mark))
    volume.age()
    assert volume.sweep().skipped == {"foreign": 1}


def test_a_pipe_in_place_of_a_mark_holds_nobody_up(volume: Volume) -> None:
    os.mkfifo(volume.tree(f"job_{new_uid()}") / ".trainingjob")
    volume.age()
    assert volume.sweep().skipped == {"foreign": 1}


# --- shares, time and room ------------------------------------------------------------------------


def test_one_sweep_takes_its_share_and_the_next_ones_the_rest(volume: Volume) -> None:
    for _ in range(10):
        volume.log(new_uid())
    volume.age()
    volume.limits = Limits(share_percent=20, at_least=3)

    reports = [volume.sweep() for _ in range(5)]

    assert [report.files_removed for report in reports] == [3, 3, 3, 1, 0]
    assert reports[0].skipped == {"capped": 7}


def test_a_sweep_without_time_removes_nothing_and_breaks_nothing(volume: Volume) -> None:
    volume.tree(f"job_{new_uid()}", files=400)
    volume.age()
    volume.limits = Limits(seconds=-1)
    report = volume.sweep()
    assert report.files_removed == 0
    assert report.healthy
    volume.limits = Limits()
    assert volume.sweep().files_removed == 800


def test_a_file_that_loses_one_of_its_names_counts_as_written(volume: Volume) -> None:
    """Nobody can tell that from a write, so the other name stays for another week."""
    first, second = (volume.tree(f"job_{new_uid()}", files=1) for _ in range(2))
    (second / "link").hardlink_to(first / "file-0")
    volume.age()
    volume.limits = Limits()
    assert volume.sweep().skipped == {"young": 1}
    assert len(volume.names()) == 1


def test_the_bytes_of_a_sweep_are_limited(volume: Volume) -> None:
    for _ in range(4):
        (volume.path / f"job_{new_uid()}.log").write_bytes(b"x" * 100_000)
    volume.age()
    volume.limits = Limits(bytes=150_000)
    assert volume.sweep().files_removed == 2


def test_a_hard_link_goes_and_frees_nothing(volume: Volume, tmp_path: Path) -> None:
    canary, other = tmp_path / "canary", tmp_path / "other"
    for each in (canary, other):
        each.write_bytes(b"x" * 1_000_000)
    directory = volume.path / f"job_{new_uid()}"
    directory.mkdir()
    (directory / "link").hardlink_to(canary)
    (volume.path / f"job_{new_uid()}.log").hardlink_to(other)
    volume.age()

    report = volume.sweep()

    assert report.files_removed == 2
    assert report.bytes_freed < 1_000_000
    assert canary.read_bytes() == other.read_bytes() == b"x" * 1_000_000


# --- clocks ------------------------------------------------------------------------------------------


def test_the_earlier_of_the_two_clocks_is_believed(volume: Volume) -> None:
    volume.log(new_uid())
    volume.age()
    sweep = volume.new_sweep()
    truth = volume.clock.wall_ns
    volume.clock.wall_ns += int(10 * 86_400e9)  # the pod's clock is ten days ahead
    sweep._volume_time_ns = lambda _: truth - int(60e9)  # type: ignore[misc]
    assert sweep.sweep(NOBODY, max_age_s=WEEK_S).skipped == {"young": 1}


@pytest.mark.parametrize("days", [10, -10])
def test_a_clock_that_was_set_costs_one_sweep(volume: Volume, days: int) -> None:
    volume.age()
    sweep = volume.new_sweep()
    assert sweep.sweep(NOBODY, max_age_s=WEEK_S).reason == "Healthy"
    volume.log(new_uid())
    volume.clock.wall_ns += int(days * 86_400e9)
    volume.clock.monotonic_s += 600

    report = sweep.sweep(NOBODY, max_age_s=WEEK_S)

    assert (report.reason, report.healthy, report.files_removed) == ("ClockStepped", True, 0)
    assert sweep.sweep(NOBODY, max_age_s=WEEK_S).reason == "Healthy"


def test_the_volume_tells_its_own_time(volume: Volume) -> None:
    before = moment(volume.path)
    with Root.open(str(volume.path)) as root:
        its_own = root.touch()
    assert before < its_own <= moment(volume.path)
