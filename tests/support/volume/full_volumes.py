"""Scenarios of real volumes that are full, read-only or damaged, each in a separate mount namespace.

    unshare --mount python -m tests.support.volume.full_volumes NAME FOLDER

prints the outcome as JSON.
"""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from tests.support.cluster.cluster import FakeCluster
from tests.support.volume.mount_namespace import Outcome, Scenario, mount, print_scenario, tmpfs
from tests.support.volume.volume import OURS, Volume, new_uid
from tests.support.volume.volume_scenarios import fill, outcome_of
from trainingjob_api.errors import VolumeError
from trainingjob_api.log_sections import Section
from trainingjob_operator.clock import SystemClock
from trainingjob_operator.core.decision import LogOutcome
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.log_archive import archiver as archiving
from trainingjob_operator.log_archive.archive_file import ArchiveFile
from trainingjob_operator.log_archive.archiver import Archiver
from trainingjob_operator.log_archive.file_threads import FileThreads
from trainingjob_operator.log_archive.log_queue import LogTask
from trainingjob_operator.log_archive.log_store import LogStore
from trainingjob_operator.volume.layout import Entry
from trainingjob_operator.volume.sweep import entry_remover as removing
from trainingjob_operator.volume.sweep import entry_verdict as judging
from trainingjob_operator.volume.sweep import trash
from trainingjob_operator.volume.sweep.entry_verdict import SweepContext
from trainingjob_operator.volume.sweep.rules import LiveJobs, Reason

FEW_INODES = "size=1m,nr_inodes=40"
KEY = JobKey("ml", "mnist")


class NothingToMountError(Exception):
    """This machine cannot mount what the scenario needs."""


def ext4(folder: Path) -> Path:
    """Mount an ext4 file system of eight megabytes, without blocks reserved for root.

    Raises:
        NothingToMountError: it cannot be made or mounted here.
    """
    if shutil.which("mkfs.ext4") is None:
        raise NothingToMountError("mkfs.ext4 is not installed")
    image, place = folder / "image", folder / "volume"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(8 * 2**20)
    make = ["mkfs.ext4", "-q", "-m", "0", "-b", "1024", str(image)]
    for command in (make, ["mount", "-o", "loop", str(image), str(place)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NothingToMountError(f"no ext4 on a loop device here: {done.stderr.strip()}")
    return place


def a_damaged_directory(folder: Path) -> Outcome:
    """Overwrite a block of a directory on the disk, as a failing disk does."""
    place, image = ext4(folder), folder / "image"
    volume = Volume(place)
    damaged = volume.tree(f"job_{new_uid()}").name
    volume.tree(f"job_{new_uid()}")
    volume.age()
    subprocess.run(["umount", str(place)], check=True)
    blocks = subprocess.run(
        ["debugfs", "-R", f"blocks /{damaged}/below", str(image)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    with image.open("r+b") as disk:
        disk.seek(1024 * int(blocks[0]))
        disk.write(b"\xff" * 1024)
    mount("-o", "loop,errors=continue", image, place)
    report = volume.sweep()
    return outcome_of(report, damaged=damaged, left=sorted(volume.names() - {"lost+found"}))


def leave_no_room(place: Path) -> None:
    """Use up all blocks and inodes, and the space for names in the root directory."""
    others = place / "others"
    others.mkdir()
    fill(others / "large")
    with suppress(OSError):
        for number in range(10_000):
            (others / f"small-{number}").touch()


def is_full(place: Path) -> bool:
    try:
        (place / "new").mkdir()
    except OSError as error:
        return error.strerror == "No space left on device"
    return False


def without_trash(place: Path) -> Outcome:
    """`.trash` was removed to free space, and other files have used that space."""
    volume = Volume(place)
    volume.tree(f"job_{new_uid()}", files=5)
    volume.tree(f"datasets/job_{new_uid()}")
    volume.log(new_uid())
    (place / ".trash").rmdir()
    leave_no_room(place)
    full = is_full(place)
    volume.age()
    first = volume.sweep()
    names = sorted(path.name for path in place.iterdir())
    return outcome_of(first, full=full, names=names, later=outcome_of(volume.sweep()))


def no_inode_for_the_trash(folder: Path) -> Outcome:
    return without_trash(tmpfs(folder / "volume", FEW_INODES))


def no_block_for_the_trash(folder: Path) -> Outcome:
    return without_trash(ext4(folder))


def no_block_for_names_in_the_trash(folder: Path) -> Outcome:
    """A wide directory far below the root is moved into a trash with space for a dozen names."""
    place = ext4(folder)
    volume = Volume(place)
    top = volume.path / f"job_{new_uid()}"
    for number in range(60):
        (top / "a" / "b" / f"wide-{number}").mkdir(parents=True)
        (top / "a" / "b" / f"wide-{number}" / "file").touch()
    leave_no_room(place)
    full = is_full(place)
    volume.age()
    with patch.object(trash, "MAX_OPEN", 3):
        report = volume.sweep()
    return outcome_of(report, full=full, left=sorted(volume.names()), trash=volume.trash())


def more_left_in_the_root_than_fits(folder: Path) -> Outcome:
    """Sixty directories of a sweep that used the root as trash, and a trash with space for a dozen names."""
    place = ext4(folder)
    volume = Volume(place)
    for number in range(60):
        volume.tree(f".trash.x.{number:012x}.job_{new_uid()}", files=1)
    leave_no_room(place)
    full = is_full(place)
    reports = [volume.sweep() for _ in range(8)]
    left = [path.name for path in place.iterdir() if path.name.startswith(".trash.")]
    return {
        "full": full,
        "first": outcome_of(reports[0]),
        "directories": sum(report.directories_removed for report in reports),
        "errors": sum(report.errors for report in reports),
        "left": left,
    }


def no_inode_to_go_back(folder: Path) -> Outcome:
    """A log that changed at the last moment is moved back, without an inode for a second link."""
    volume = Volume(tmpfs(folder / "volume", FEW_INODES))
    log = volume.log(new_uid())
    leave_no_room(volume.path)
    volume.age()
    really = judging.judge_again

    def judge_again(context: SweepContext, entry: Entry, **how: object) -> judging.Verdict:
        really(context, entry, **how)  # type: ignore[arg-type]
        return judging.Verdict(Reason.CHANGED)

    with patch.object(removing, "judge_again", judge_again):
        report = volume.sweep()
    return outcome_of(report, text=log.read_text(), trash=volume.trash())


def no_room_to_say_whose_it_is(folder: Path) -> Outcome:
    """The operator now serves more namespaces, and the volume has no space for a new sentinel."""
    place = tmpfs(folder / "volume", FEW_INODES)
    volume = Volume(place, owner=replace(OURS, namespaces=("ml",)))
    volume.log(new_uid())
    leave_no_room(place)
    volume.age()
    volume.owner = OURS
    first = volume.sweep()
    then = (place / ".trainingjob-volume").read_text()
    shutil.rmtree(place / "others")
    volume.sweep()
    return outcome_of(first, first=then, later=(place / ".trainingjob-volume").read_text())


# --- the archive ------------------------------------------------------------------------------------


class LongLog(FakeCluster):
    """A pod's log of four megabytes, or of another number of lines of 64 KiB."""

    def __init__(self, lines: int = 64) -> None:
        super().__init__()
        self._lines = lines

    async def pod_log(
        self, namespace: str, name: str, *, container: str
    ) -> AsyncGenerator[bytes, None]:
        for _ in range(self._lines):
            yield b"x" * 65_535 + b"\n"


def archive(place: Path, uid: str, *, pod: str = "pod-0", lines: int = 64) -> LogOutcome:
    """Archive one log, and return the outcome. The timeout is longer than the archiver's own minute."""

    async def run() -> LogOutcome:
        clock = SystemClock()
        store = LogStore(str(place), lambda: OURS, FileThreads(4))
        archiver = Archiver(pods=LongLog(lines), store=store, clock=clock, enqueue=lambda _: None)
        archiver.queue.add(
            LogTask(
                key=KEY,
                job_uid=uid,
                pod="mnist-0",
                pod_uid=pod,
                container="trainer",
                attempt=0,
                rank=0,
                running=False,
                asked_at=clock.monotonic(),
                give_up_at=float("inf"),
            )
        )
        work = asyncio.create_task(archiver.keep_archiving())
        async with asyncio.timeout(archiving.DEADLINE_S + 30):
            while not archiver.queue.outcomes_of(uid):
                await asyncio.sleep(0.01)
        work.cancel()
        await asyncio.wait([work])
        return archiver.queue.outcomes_of(uid)[pod]

    with patch.object(archiving, "RETRY_S", 0.05):
        return asyncio.run(run())


def archived(place: Path) -> Outcome:
    """Archive a log that does not fit, sweep, and archive the log again."""
    volume = Volume(place)
    old = volume.log(new_uid())
    with old.open("ab") as file:
        file.write(b"x" * 2**20 * 5)
    volume.age()
    uid = new_uid()
    lost = archive(place, uid)
    left = (place / f"job_{uid}.log").stat().st_size
    swept = volume.sweep(LiveJobs(frozenset({uid})))
    again = archive(place, uid)
    return outcome_of(
        swept,
        lost=lost.lost,
        volume_fault=lost.volume_fault,
        half=left,
        again=again.lost,
        size=again.size,
        text=(place / f"job_{uid}.log").read_bytes()[-60:].decode(),
    )


def a_log_that_does_not_fit(folder: Path) -> Outcome:
    return archived(tmpfs(folder / "volume", "size=7m"))


def a_log_that_does_not_fit_on_ext4(folder: Path) -> Outcome:
    return archived(ext4(folder))


def given_up(place: Path) -> Outcome:
    """Archive a second log of a job, which does not fit, then kill the writer of a third one."""
    volume, uid = Volume(place), new_uid()
    archive(place, uid, lines=3)
    log = place / f"job_{uid}.log"
    before, free = log.read_bytes(), os.statvfs(place).f_bfree
    fill(place / "others")
    with (place / "others").open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - 2**20)
    room = os.statvfs(place).f_bfree
    lost = archive(place, uid, pod="pod-1")
    after, room_after = log.read_bytes(), os.statvfs(place).f_bfree

    pid = os.fork()
    if pid == 0:
        die_writing(place, log.name)
    os.waitpid(pid, 0)
    torn = log.stat().st_size
    again = archive(place, uid, pod="pod-1")  # the volume is full all the same
    mended = log.read_bytes()
    (place / "others").unlink()
    later = archive(place, uid, pod="pod-1")
    return {
        "lost": lost.lost,
        "intact": after == before,
        "room": [free, room, room_after],
        "torn": torn - len(before),
        "again": again.lost,
        "mended": mended == before,
        "later": later.lost,
        "earlier": log.read_bytes().startswith(before),
        "healthy": volume.sweep(LiveJobs(frozenset({uid}))).healthy,
    }


def die_writing(place: Path, name: str) -> None:
    """Write a section until the volume is full, and exit without cleanup."""
    file = ArchiveFile.open(os.open(place, os.O_RDONLY), name)
    with suppress(OSError):
        file.begin(Section(attempt=0, rank=0, pod="pod-1"))
        while True:
            file.write(b"[rank 0] " + b"x" * 65_535 + b"\n")
    os.kill(os.getpid(), signal.SIGKILL)


def a_log_given_up_takes_no_room(folder: Path) -> Outcome:
    return given_up(tmpfs(folder / "volume", "size=7m"))


def a_log_given_up_takes_no_room_on_ext4(folder: Path) -> Outcome:
    return given_up(ext4(folder))


def a_job_without_an_inode(folder: Path) -> Outcome:
    volume = Volume(tmpfs(folder / "volume", "size=16m,nr_inodes=40"))
    old = volume.tree(f"job_{new_uid()}", files=3)
    leave_no_room(volume.path)
    volume.age()
    uid = new_uid()
    (volume.path / "others" / "large").write_text("")
    lost = archive(volume.path, uid)
    swept = volume.sweep(LiveJobs(frozenset({uid})))
    again = archive(volume.path, uid)
    return outcome_of(swept, lost=lost.lost, again=again.lost, old=old.exists())


def a_log_on_a_read_only_volume(folder: Path) -> Outcome:
    volume = Volume(tmpfs(folder / "volume"))
    mount("-o", "remount,ro", volume.path)
    lost = archive(volume.path, new_uid())
    prepared = ""
    try:
        store = LogStore(str(volume.path), lambda: OURS, FileThreads(1))
        asyncio.run(store.ensure_job_directory(KEY, new_uid()))
    except VolumeError as error:
        prepared = error.reason
    return {"lost": lost.lost, "volume_fault": lost.volume_fault, "prepared": prepared}


SCENARIOS: dict[str, Scenario] = {
    each.__name__: each
    for each in (
        *(no_inode_for_the_trash, no_block_for_the_trash, no_block_for_names_in_the_trash),
        *(
            more_left_in_the_root_than_fits,
            no_inode_to_go_back,
            no_room_to_say_whose_it_is,
        ),
        *(a_log_that_does_not_fit, a_log_that_does_not_fit_on_ext4, a_job_without_an_inode),
        *(a_log_on_a_read_only_volume, a_damaged_directory),
        *(a_log_given_up_takes_no_room, a_log_given_up_takes_no_room_on_ext4),
    )
}


if __name__ == "__main__":
    try:
        print_scenario(SCENARIOS)
    except NothingToMountError as error:
        why: Outcome = {"skip": str(error)}
        print_scenario(dict.fromkeys(SCENARIOS, lambda _: why))
