"""Leftovers of a dead process in the trash: the next sweep deletes them or puts them back."""

import errno
import os
from pathlib import Path

import pytest

from tests.support.volume.volume import (
    Volume,
    everything_below,
    new_uid,
)
from trainingjob_operator.volume.sweep import entry_remover as removing
from trainingjob_operator.volume.sweep import entry_verdict as judging
from trainingjob_operator.volume.sweep.rules import LiveJobs, Reason


def taken(volume: Volume, name: str, letter: str) -> Path:
    """As a process leaves it that died after its rename."""
    place = volume.path / ".trash" / f"{letter}.0123456789ab.{Path(name).name}"
    (volume.path / name).rename(place)
    return place


@pytest.mark.parametrize(("letter", "below"), [("r", ""), ("d", "datasets/")])
def test_what_was_left_in_the_trash_goes_back_if_its_job_lives(
    volume: Volume, letter: str, below: str
) -> None:
    uid = new_uid()
    volume.tree(f"{below}job_{uid}")
    volume.age()
    before = everything_below(volume.path / f"{below}job_{uid}")
    taken(volume, f"{below}job_{uid}", letter)
    report = volume.sweep(LiveJobs(frozenset({uid})))
    assert everything_below(volume.path / f"{below}job_{uid}") == before
    assert report.skipped["live"] >= 1


def test_what_was_left_in_the_trash_goes_if_its_job_is_gone_and_it_is_old(volume: Volume) -> None:
    old, young = new_uid(), new_uid()
    volume.tree(f"job_{old}")
    left = taken(volume, f"job_{old}", "r")
    volume.age()
    left.rename(left)
    volume.tree(f"job_{young}")
    taken(volume, f"job_{young}", "r")
    report = volume.sweep()
    assert report.directories_removed == 2
    assert volume.names() == {f"job_{young}"}
    assert volume.trash() == []


def test_what_was_left_half_gone_is_finished_but_not_if_its_job_lives(volume: Volume) -> None:
    gone, lives = new_uid(), new_uid()
    for uid in (gone, lives):
        volume.tree(f"job_{uid}")
        taken(volume, f"job_{uid}", "x")
    report = volume.sweep(LiveJobs(frozenset({lives})))
    assert volume.trash() == [f"x.0123456789ab.job_{lives}"]
    assert report.directories_removed == 2


def test_what_was_left_of_datasets_waits_for_their_directory(volume: Volume) -> None:
    uid = new_uid()
    volume.tree(f"datasets/job_{uid}")
    taken(volume, f"datasets/job_{uid}", "d")
    (volume.path / "datasets").rmdir()
    volume.sweep(LiveJobs(frozenset({uid})))
    assert len(volume.trash()) == 1
    (volume.path / "datasets").mkdir()
    volume.sweep(LiveJobs(frozenset({uid})))
    assert (volume.path / "datasets" / f"job_{uid}" / "file-0").exists()


def test_what_others_put_into_the_trash_is_left_alone(volume: Volume) -> None:
    for name in (
        "x",
        "notes.txt",
        "r.short.job_1",
        "q.0123456789ab.job_1",
        "x.0123456789ab.other",
    ):
        (volume.path / ".trash" / name).write_text("mine")
    volume.age()
    volume.sweep()
    assert len(volume.trash()) == 5


@pytest.mark.parametrize(("letter", "below"), [("r", ""), ("d", "datasets/"), ("x", "")])
def test_what_was_left_in_the_root_of_a_full_volume_is_seen_to_by_the_next_sweep(
    volume: Volume, letter: str, below: str
) -> None:
    """There the root itself was the trash."""
    gone, lives = new_uid(), new_uid()
    for uid in (gone, lives):
        volume.tree(f"{below}job_{uid}")
        left = taken(volume, f"{below}job_{uid}", letter)
        left.rename(volume.path / f".trash.{left.name}")
    (volume.path / ".trash.notes").touch()
    volume.age()

    report = volume.sweep(LiveJobs(frozenset({lives})))

    assert report.directories_removed == 2
    stays = {"x": volume.path / ".trash" / f"x.0123456789ab.job_{lives}"}
    assert (stays.get(letter, volume.path / below / f"job_{lives}") / "file-0").exists()
    in_root = {path.name for path in volume.path.iterdir() if path.name.startswith(".trash")}
    assert in_root == {".trash", ".trash.notes"}


def test_what_changed_while_a_full_volume_was_swept_goes_back_to_its_place(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, log_uid = new_uid(), new_uid()
    volume.tree(f"datasets/job_{uid}")
    volume.log(log_uid)
    volume.age()
    (volume.path / ".trash").rmdir()
    before = everything_below(volume.path)
    really = os.mkdir

    def mkdir(path: str, *how: int, **more: int) -> None:
        if path == ".trash":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        really(path, *how, **more)

    monkeypatch.setattr(os, "mkdir", mkdir)
    monkeypatch.setattr(removing, "judge_again", lambda *_, **__: judging.Verdict(Reason.CHANGED))
    assert volume.sweep().skipped == {"changed": 2}
    assert everything_below(volume.path) == before
