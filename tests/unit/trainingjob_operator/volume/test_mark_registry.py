"""A job that changes the mark in its directory neither keeps its files nor endangers others."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.support.volume.volume import NOBODY, Volume, new_uid
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.log_archive.file_threads import FileThreads
from trainingjob_operator.log_archive.log_store import LogStore
from trainingjob_operator.volume.mark_registry import MarkRegistry, register_mark
from trainingjob_operator.volume.ownership import Mark
from trainingjob_operator.volume.root import Root
from trainingjob_operator.volume.sweep.rules import LiveJobs

KEY: Final = JobKey("ml", "mnist")


def directory(mark: Path) -> None:
    mark.mkdir()


def link(mark: Path) -> None:
    mark.symlink_to("/etc/passwd")


def pipe(mark: Path) -> None:
    os.mkfifo(mark)


def garbage(mark: Path) -> None:
    mark.write_bytes(b"\xff\x00{")


def large(mark: Path) -> None:
    mark.write_bytes(b"{" * 100_000)


def another_clusters(mark: Path) -> None:
    mark.write_text(json.dumps({"uid": "u", "namespace": "n", "name": "n", "cluster": "theirs"}))


RUINED: Final = [directory, link, pipe, garbage, large, another_clusters]
each_ruin = pytest.mark.parametrize("ruin", RUINED, ids=lambda each: each.__name__)


async def start_job(volume: Volume, uid: str) -> Path:
    """Do what the operator does before a job's first pod. Its mark."""
    await LogStore(str(volume.path), lambda: volume.owner, FileThreads(2)).ensure_job_directory(
        KEY, uid
    )
    return volume.path / f"job_{uid}" / ".trainingjob"


def noted(volume: Volume) -> set[str]:
    return {each.name for each in (volume.path / ".trainingjob-marks").iterdir()}


@each_ruin
async def test_a_job_that_ruins_its_own_mark_keeps_none_of_its_files(
    volume: Volume, ruin: Callable[[Path], None]
) -> None:
    uid = new_uid()
    mark = await start_job(volume, uid)
    mark.unlink()
    ruin(mark)
    volume.log(uid)
    volume.tree(f"datasets/job_{uid}")
    volume.age()
    report = volume.sweep()
    assert volume.names() == {"datasets"}
    assert list((volume.path / "datasets").iterdir()) == []
    assert (report.skipped, report.healthy) == ({}, True)


@each_ruin
def test_a_ruined_mark_that_nobody_has_noted_keeps_the_files(
    volume: Volume, ruin: Callable[[Path], None]
) -> None:
    """It may be anybody's."""
    top = volume.tree(f"job_{new_uid()}")
    ruin(top / ".trainingjob")
    volume.age()
    assert volume.sweep().skipped == {"foreign": 1}
    assert top.exists()


async def test_what_another_owner_has_noted_stays_whatever_the_directory_says(
    volume: Volume,
) -> None:
    uid = new_uid()
    mark = await start_job(volume, uid)
    theirs = Mark(uid=uid, namespace="ml", name="mnist", cluster="theirs")
    with Root.open(str(volume.path)) as root:
        register_mark(theirs, at=root.fd, device=root.device)
    volume.age()
    assert volume.sweep().skipped == {"foreign": 1}
    assert mark.exists()


async def test_a_job_that_has_closed_its_directory_is_noted(volume: Volume) -> None:
    uid = new_uid()
    (volume.path / f"job_{uid}").write_text("a file where a directory should be")
    archive = await LogStore(str(volume.path), lambda: volume.owner, FileThreads(2)).open(KEY, uid)
    await archive.close()
    assert noted(volume) == {uid}


async def test_it_is_forgotten_when_nothing_of_the_job_is_left_and_not_before(
    volume: Volume,
) -> None:
    gone, lives, has_files = new_uid(), new_uid(), new_uid()
    for uid in (gone, lives, has_files):
        await start_job(volume, uid)
    (volume.path / ".trainingjob-marks" / f"{gone}.0a1b2c").touch()  # somebody died there
    (volume.path / f"job_{has_files}" / ".keep").touch()
    volume.age()
    young = new_uid()
    await start_job(volume, young)
    (volume.path / f"job_{lives}" / ".trainingjob").unlink()
    (volume.path / f"job_{lives}").rmdir()
    volume.sweep(LiveJobs(frozenset({lives})))
    assert noted(volume) == {lives, has_files, young}


def test_a_register_that_is_a_link_is_not_used(volume: Volume, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / new_uid()).touch()
    (volume.path / ".trainingjob-marks").symlink_to(victim)
    volume.age()
    volume.sweep(NOBODY)
    assert len(list(victim.iterdir())) == 1
    with Root.open(str(volume.path)) as root:
        assert MarkRegistry.open(at=root.fd, device=root.device) is None
        with pytest.raises(OSError, match="trainingjob-marks"):
            register_mark(
                Mark(uid=new_uid(), namespace="n", name="n", cluster="test"),
                at=root.fd,
                device=root.device,
            )
