"""What a process that died left in the trash: the next one finishes it, or puts it back."""

from pathlib import Path

import pytest

from tests.support.volume import (
    Volume,
    everything_below,
    new_uid,
)
from trainingjob_operator.core.pruning import LiveJobs


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
