"""Volumes with I/O errors, on NFS, or with concurrent sweeps: one bad entry affects no other."""

import asyncio
import errno
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.volume import mount_namespace
from tests.support.volume.volume import NOBODY, WEEK_S, Volume, everything_below, new_uid, until
from trainingjob_operator.volume.root import Root
from trainingjob_operator.volume.sweep import deleter_pool, trash
from trainingjob_operator.volume.sweep.rules import VolumeReport
from trainingjob_operator.volume.sweep.sweep import LogSweep


def test_a_damaged_directory_stays_and_the_others_go(tmp_path: Path) -> None:
    found = mount_namespace.scenario("volume.full_volumes", "a_damaged_directory", tmp_path)
    assert found["skipped"] == {"unreadable": 1}
    assert (found["files"], found["errors"]) == (4, 1)
    assert (found["healthy"], found["reason"]) == (False, "Unavailable")
    assert found["left"] == [found["damaged"]]


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_what_cannot_be_listed_is_neither_old_nor_empty(
    volume: Volume, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    sick = volume.tree(f"job_{new_uid()}") / "below"
    volume.tree(f"job_{new_uid()}")
    volume.age()
    before = everything_below(sick)
    inode = sick.stat().st_ino
    really = os.scandir

    def scandir(path: Any) -> Any:
        if isinstance(path, int) and os.fstat(path).st_ino == inode:
            raise OSError(code, os.strerror(code))
        return really(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", scandir)
        report = volume.sweep()

    reason = "denied" if code == errno.EACCES else "unreadable"
    assert (report.skipped, report.errors, report.healthy) == ({reason: 1}, 1, False)
    assert (report.files_removed, everything_below(sick)) == (4, before)
    assert volume.trash() == []


def test_a_file_that_is_open_on_nfs_holds_its_directory_until_it_is_closed(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a removed file that is open stays under another name, and so does its directory."""
    volume.tree(f"job_{new_uid()}")
    volume.tree(f"job_{new_uid()}")
    volume.age()
    volume.limits = replace(volume.limits, processes=0)  # in which nothing can be patched
    really, opened = os.unlink, "file-1"

    def unlink(path: str, *, dir_fd: int) -> None:
        if path == opened:
            os.rename(path, f".nfs{os.urandom(4).hex()}", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        elif path.startswith(".nfs"):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
        else:
            really(path, dir_fd=dir_fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", unlink)
        first = volume.sweep()
        second = volume.sweep()
    closed = volume.sweep()

    assert (first.skipped, second.skipped) == ({"busy": 2}, {"busy": 2})
    assert first.healthy
    assert volume.names() == set()
    assert (closed.skipped, closed.errors, volume.trash()) == ({}, 0, [])


def test_two_sweeps_where_nothing_can_be_locked_are_in_nobodys_way(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Root, "_lock", lambda _: None)
    for _ in range(30):
        volume.tree(f"job_{new_uid()}", files=20)
        volume.log(new_uid())
    volume.age()
    sweeps = [volume.new_sweep() for _ in range(2)]
    together = threading.Barrier(2)
    reports: list[VolumeReport] = []

    def run(sweep: LogSweep) -> None:
        together.wait()
        reports.append(sweep.sweep(NOBODY, max_age_s=WEEK_S))

    threads = [threading.Thread(target=run, args=(sweep,)) for sweep in sweeps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    last = volume.sweep()  # what one of them put back, for the other had changed it
    reports.append(last)
    assert sum(report.files_removed for report in reports) == 30 * 40 + 30
    assert sum(report.directories_removed for report in reports) == 60
    assert (volume.names(), volume.trash(), last.errors) == (set(), [], 0)


async def test_a_second_sweep_does_not_begin_before_the_first_one_has_ended(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume.log(new_uid())
    volume.age()
    is_there, may_go = threading.Event(), threading.Event()
    really = trash.Trash.move_in

    def move_in(*how: Any) -> str:
        is_there.set()
        may_go.wait(30)
        return really(*how)

    monkeypatch.setattr(trash.Trash, "move_in", move_in)
    sweep = volume.new_sweep()
    first = asyncio.create_task(sweep.sweep_in_thread(NOBODY, max_age_s=WEEK_S))
    await asyncio.to_thread(is_there.wait, 30)
    second = await sweep.sweep_in_thread(NOBODY, max_age_s=WEEK_S)
    other = await asyncio.to_thread(volume.new_sweep().sweep, NOBODY, max_age_s=WEEK_S)
    may_go.set()

    for report in (second, other):
        assert (report.healthy, report.reason, report.files_removed) == (None, "Locked", 0)
    assert (await first).files_removed == 1


async def test_a_sweep_does_not_hold_up_the_event_loop(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each entry it waits for the loop, in which it would never be heard if it ran there."""
    monkeypatch.setattr(
        deleter_pool, "MIN_FILES_FOR_PROCESS", min(deleter_pool.MIN_FILES_FOR_PROCESS, 500)
    )
    for _ in range(10):  # enough files for a process before the last of them
        volume.tree(f"job_{new_uid()}", files=50)
    volume.age()
    loop = asyncio.get_running_loop()
    log_sweep, processes = volume.new_sweep(), list[int]()
    really = trash.Trash.move_in

    async def look() -> None:
        processes.append(log_sweep.processes)

    def move_in(*how: Any) -> str:
        asyncio.run_coroutine_threadsafe(look(), loop).result(30)
        return really(*how)

    monkeypatch.setattr(trash.Trash, "move_in", move_in)
    report = await log_sweep.sweep_in_thread(NOBODY, max_age_s=WEEK_S)
    assert (report.files_removed, len(processes)) == (1_000, 10)
    assert 0 < max(processes) <= volume.limits.processes
    assert log_sweep.processes == 0


async def test_a_sweep_whose_caller_goes_away_ends_soon(volume: Volume) -> None:
    for _ in range(200):
        volume.log(new_uid())
    volume.age()
    sweep = volume.new_sweep()
    running = asyncio.create_task(sweep.sweep_in_thread(NOBODY, max_age_s=WEEK_S))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not sweep._running.locked())
    assert volume.sweep().healthy
    assert volume.names() == set()
